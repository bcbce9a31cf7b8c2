//! A certificate authority in a directory: `ca.crt`, which everybody may have, and `ca.key`, which signs. It has a key of one
//! kind (ECDSA on P-256) and a name that follows from the key, so that two authorities never have the same one.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use hypermnesia::calendar::Moment;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// How long before it was made a certificate is in force already: clocks differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

/// See the file's header.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM form.
    pub(crate) certificate: String,
}

/// A key and a certificate for it, in PEM form.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// The day on which it ends.
    pub(crate) ends: String,
}

/// The file of the authority's certificate.
pub(crate) fn certificate_in(folder: &Path) -> PathBuf {
    folder.join("ca.crt")
}

/// The file of its key.
pub(crate) fn key_in(folder: &Path) -> PathBuf {
    folder.join("ca.key")
}

/// Makes an authority.
pub(crate) fn make(days: u32) -> Result<Issued> {
    let key = KeyPair::generate()?;
    let (mut own, ends) = in_force(days)?;
    own.distinguished_name = name_of(&key);
    own.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    own.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(Issued { certificate: own.self_signed(&key)?.pem(), key: key.serialize_pem(), ends })
}

impl Authority {
    /// Reads the authority in a directory.
    pub(crate) fn open(folder: &Path) -> Result<Authority> {
        let (certificate, key) = (certificate_in(folder), key_in(folder));
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| {
                format!(
                    "cannot read {}; \"hmn cert ca --out {}\" makes an authority",
                    path.display(),
                    folder.display()
                )
            })
        };
        let text = read(&certificate)?;
        let pair = KeyPair::from_pem(&read(&key)?);
        let pair = pair.with_context(|| format!("{} is no key of an authority", key.display()))?;
        let der = CertificateDer::from_pem_slice(text.as_bytes());
        let der = der.with_context(|| format!("{} is no certificate", certificate.display()))?;
        // The names are compared too: this program knows the issuer's by its key alone.
        let has = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
        ensure!(
            has(pair.der_bytes()) && has(common_name(&pair).as_bytes()),
            "{} is not the certificate of the key in {}, or not one that this program has made",
            certificate.display(),
            key.display()
        );
        let mut own = CertificateParams::default();
        own.distinguished_name = name_of(&pair);
        own.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Authority { issuer: Issuer::new(own, pair), certificate: text })
    }

    /// Issues a certificate for a member, by its name there.
    pub(crate) fn issue(&self, uri: &str, days: u32) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let (mut own, ends) = in_force(days)?;
        own.distinguished_name = DistinguishedName::new();
        // Common names are short, those of members may be long: they stand where nothing is cut off.
        own.distinguished_name.push(DnType::CommonName, "Hypermnesia member");
        own.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        own.is_ca = IsCa::ExplicitNoCa;
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        own.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        own.use_authority_key_identifier_extension = true;
        Ok(Issued { certificate: own.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem(), ends })
    }
}

fn name_of(key: &KeyPair) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name(key));
    name
}

fn common_name(key: &KeyPair) -> String {
    let id = CertificateParams::default().key_identifier(key);
    let id: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("Hypermnesia CA {id}")
}

/// A certificate from now on for so many days, and when it ends.
fn in_force(days: u32) -> Result<(CertificateParams, String)> {
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
        bail!("the clock of this machine stands before 1970");
    };
    let end = now + Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let epoch = date_time_ymd(1970, 1, 1);
    let mut own = CertificateParams::default();
    own.not_before = epoch + now.saturating_sub(CLOCKS_DIFFER);
    own.not_after = epoch + end;
    let moment = Moment(i64::try_from(end.as_micros())?).to_string();
    Ok((own, moment.chars().take(10).collect()))
}
