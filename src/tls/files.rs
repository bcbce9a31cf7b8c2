//! What stands in the files of a member's certificates, and what is wrong with it in words for who has to put it right.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsFiles;
use crate::limits::TLS_FILE_BYTES_MAX;

/// The bytes of the three files.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    pub(super) fn read(files: &TlsFiles) -> Result<Contents, String> {
        Ok(Contents {
            ca: read("of the CA", &files.ca)?,
            cert: read("of the certificate", &files.cert)?,
            key: read("of the key", &files.key)?,
        })
    }

    /// In the place of what could not be read.
    pub(super) fn unreadable() -> Contents {
        Contents { ca: Vec::new(), cert: Vec::new(), key: Vec::new() }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        *self == Contents::unreadable()
    }

    pub(super) fn authorities(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        certificates("of the CA", &self.ca, path)
    }

    pub(super) fn chain(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        certificates("of the certificate", &self.cert, path)
    }

    pub(super) fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            format!(
                "TLS: the file of the key, {}, has no private key without a password in PEM form (it begins with \
                 \"-----BEGIN PRIVATE KEY-----\"): {error}",
                path.display()
            )
        })
    }
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let wrong =
        |error: std::io::Error| format!("TLS: cannot read the file {what}, {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > TLS_FILE_BYTES_MAX {
        return Err(format!(
            "TLS: the file {what}, {}, is longer than {TLS_FILE_BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(bytes)
}

fn certificates(what: &str, pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let path = path.display();
    let found = found.map_err(|error| format!("TLS: the file {what}, {path}, is damaged: {error}"))?;
    if found.is_empty() {
        return Err(format!(
            "TLS: the file {what}, {path}, has no certificate in PEM form (it begins with \"-----BEGIN CERTIFICATE-----\")"
        ));
    }
    Ok(found)
}

/// What should be known about files that can be used.
pub(super) fn warnings(files: &TlsFiles) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&files.key).map_or(0, |about| about.permissions().mode());
    let key = files.key.display();
    let open = mode & 0o007 != 0;
    let words = format!(
        "TLS: every user of this machine may open the key in {key}: take that right away (chmod o-rwx {key})"
    );
    open.then_some(words).into_iter().collect()
}
