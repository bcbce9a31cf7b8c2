//! Why a connection was refused, in words that say what is to be done, for either end: who refuses, and who is refused and
//! hears of it by an alert.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

/// What is wrong with the other end of a connection, or with us as it says.
pub(crate) fn said_of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(wrong) => said_of_certificate(wrong),
        Error::NoCertificatesPresented => "it showed no certificate, which every member must have".to_owned(),
        Error::AlertReceived(alert) => said_by(*alert).to_owned(),
        Error::DecryptError => {
            "what it sent was changed on its way, or is a recording of another connection".to_owned()
        }
        Error::PeerIncompatible(why) => format!("it speaks no TLS 1.3 as members do ({why:?})"),
        Error::InvalidMessage(why) => format!("what it sent is no TLS ({why:?})"),
        other => format!("its TLS is not that of a member: {other}"),
    }
}

fn said_of_certificate(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "its certificate ended {}: put a new one in its --tls-cert and --tls-key files, they are taken without a restart",
            ago(wrong)
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not in force yet: look at the clocks of both machines".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate was not issued by an authority in our --tls-ca file: all members need certificates of one \
             authority, or --tls-ca files with all of theirs"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for both ends of a connection: a member's needs the extended key usages serverAuth and \
             clientAuth"
                .to_owned()
        }
        CertificateError::Other(other) => other.to_string(),
        other => format!("its certificate cannot be used: {other}"),
    }
}

/// What the other end says of us.
fn said_by(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => {
            "it says that our certificate is not in force: put a new one in our --tls-cert and --tls-key files, and look at \
             the clocks"
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it says that our certificate was not issued by an authority in its --tls-ca file: all members need certificates \
             of one authority, or --tls-ca files with all of theirs"
        }
        AlertDescription::CertificateUnknown => {
            "it says that our certificate is not for a member of its cluster: look at both --cluster, --name and --members"
        }
        AlertDescription::UnsupportedCertificate => {
            "it says that our certificate is not for both ends of a connection: a member's needs the extended key usages \
             serverAuth and clientAuth"
        }
        AlertDescription::CertificateRequired => "it wants a certificate, and we showed none",
        _ => "it ended the handshake: its log says why",
    }
}

/// What is wrong with this member's own certificate.
pub(super) fn said_of_own(error: &Error, cert: &Path, ca: &Path) -> String {
    let (cert, ca) = (cert.display(), ca.display());
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!(
                "TLS: the certificate in {cert} was not issued by an authority in {ca}: give the file of its issuer"
            )
        }
        Error::InvalidCertificate(
            wrong @ (CertificateError::Expired | CertificateError::ExpiredContext { .. }),
        ) => format!("TLS: the certificate in {cert} ended {}: issue a new one", ago(wrong)),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => format!("TLS: the certificate in {cert} is not in force yet: look at the clock of this machine"),
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => format!(
            "TLS: the certificate in {cert} is not for both ends of a connection: issue one with the extended key usages \
             serverAuth and clientAuth"
        ),
        other => format!("TLS: the certificate in {cert} cannot be used: {other}"),
    }
}

/// What is wrong with this member's certificate and key together.
pub(super) fn said_of_key(error: &Error, cert: &Path, key: &Path) -> String {
    let (cert, key) = (cert.display(), key.display());
    match error {
        Error::InconsistentKeys(_) => {
            format!(
                "TLS: the key in {key} is not that of the certificate in {cert}: give the two that were made together"
            )
        }
        other => format!("TLS: the key in {key} cannot be used with the certificate in {cert}: {other}"),
    }
}

fn ago(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::ExpiredContext { time, not_after } => format!("{} ago", since(*time, *not_after)),
        _ => "some time ago".to_owned(),
    }
}

fn since(now: UnixTime, then: UnixTime) -> String {
    span(Duration::from_secs(now.as_secs().saturating_sub(then.as_secs())))
}

/// A time as people say it.
pub(crate) fn span(time: Duration) -> String {
    let (number, unit) = match time.as_secs() {
        seconds @ 0..120 => (seconds, "second"),
        seconds @ 120..7_200 => (seconds / 60, "minute"),
        seconds @ 7_200..172_800 => (seconds / 3_600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}
