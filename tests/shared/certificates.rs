//! Authorities and certificates, made when a test runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// Who issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
}

/// A certificate that is wanted. The end is counted from now, and may have passed.
pub(crate) struct Wanted<'a> {
    pub(crate) uris: &'a [&'a str],
    pub(crate) uses: &'a [ExtendedKeyUsagePurpose],
    pub(crate) expired: bool,
}

/// What a member gets.
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// What a member's certificate is for.
pub(crate) const BOTH: [ExtendedKeyUsagePurpose; 2] =
    [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("there is chance");
        let mut own = CertificateParams::default();
        own.distinguished_name.push(DnType::CommonName, name);
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = own.self_signed(&key).expect("a good request").pem();
        Authority { issuer: Issuer::new(own, key), pem }
    }

    /// Certificate and key in PEM form.
    pub(crate) fn issue(&self, wanted: &Wanted<'_>) -> (String, String) {
        let key = KeyPair::generate().expect("there is chance");
        let mut own = CertificateParams::default();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("it is plain"));
        own.subject_alt_names = wanted.uris.iter().map(uri).collect();
        own.extended_key_usages = wanted.uses.to_vec();
        own.is_ca = IsCa::ExplicitNoCa;
        if wanted.expired {
            own.not_after = date_time_ymd(2001, 1, 1) + Duration::from_secs(60);
        }
        (own.signed_by(&key, &self.issuer).expect("a good request").pem(), key.serialize_pem())
    }

    /// Everything that a member needs, in files of this name. Those that are there are replaced.
    pub(crate) fn member(&self, folder: &Path, file: &str, uri: &str) -> Files {
        self.files(folder, file, &Wanted { uris: &[uri], uses: &BOTH, expired: false })
    }

    /// The same, of another certificate.
    pub(crate) fn files(&self, folder: &Path, name: &str, wanted: &Wanted<'_>) -> Files {
        use std::os::unix::fs::PermissionsExt;
        let (cert, key) = self.issue(wanted);
        let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        let path = |kind: &str| folder.join(format!("{name}.{kind}"));
        let files = Files { ca: path("ca"), cert: path("crt"), key: path("key") };
        for (path, text) in [(&files.ca, &self.pem), (&files.cert, &cert), (&files.key, &key)] {
            std::fs::write(path, text).expect("written");
        }
        std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o600)).expect("it is ours");
        files
    }
}
