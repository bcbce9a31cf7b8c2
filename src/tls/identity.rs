//! Who a certificate is for: the URI `hypermnesia://CLUSTER/NAME` among its subject alternative names. A URI and not a DNS name,
//! because it binds the cluster too, takes every name that a member may have, is compared byte by byte (no wildcards, no case),
//! and stands in no certificate by accident: one for a web server or a client names no member.

use rustls::pki_types::CertificateDer;

/// The name of a member in its certificate, a URI among the subject alternative names: `hypermnesia://CLUSTER/NAME`. What is
/// not a letter, a digit or one of `-._~` is written as `%` and two hexadecimal digits for each byte.
///
/// ```
/// assert_eq!(hypermnesia::member_uri("prod", "n1"), "hypermnesia://prod/n1");
/// ```
pub fn uri(cluster: &str, member: &str) -> String {
    format!("hypermnesia://{}/{}", encoded(cluster), encoded(member))
}

fn encoded(name: &str) -> String {
    use std::fmt::Write;
    name.bytes().fold(String::new(), |mut text, byte| {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => text.push(char::from(byte)),
            // Writing to a text cannot fail.
            false => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

/// Whom a certificate names. Empty when it is none.
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    webpki::EndEntityCert::try_from(certificate)
        .map_or_else(|_| Vec::new(), |parsed| parsed.valid_uri_names().map(str::to_owned).collect())
}

/// Names in words.
pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() { "nobody (it has no URI)".to_owned() } else { names.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_members_have_different_names() {
        // Aim: no member's name is another one's, whatever characters they have. Method: pairs that would fall together if they
        // were only joined, and what people write by hand.
        assert_eq!(uri("prod", "n1"), "hypermnesia://prod/n1");
        assert_eq!(uri("my cluster", "größe"), "hypermnesia://my%20cluster/gr%C3%B6%C3%9Fe");
        assert_ne!(uri("a/b", "c"), uri("a", "b/c"));
        assert_ne!(uri("a", "%2F"), uri("a", "/"));
        assert_ne!(uri("a", "N1"), uri("a", "n1"));
    }
}
