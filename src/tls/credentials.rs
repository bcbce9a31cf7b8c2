//! One set of certificates, ready for connections. It is made only of files that work together: this member's certificate is in
//! force, issued by an authority of the file beside it, for this member, for both ends of a connection, and has its key.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};

use super::files::Contents;
use super::identity::{listed, names_of};
use super::verifier::Verifier;
use super::{Names, TlsFiles, words};

/// See the file's header.
pub(super) struct Credentials {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// When the certificate ends.
    pub(super) ends: Option<SystemTime>,
}

impl Credentials {
    pub(super) fn new(files: &TlsFiles, contents: &Contents, names: &Names) -> Result<Credentials, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(files, contents, &provider, names)?;
        let ends = check_own(files, &contents.chain(&files.cert)?, &verifier, names)?;
        Credentials::of(files, contents, &provider, verifier, ends)
    }

    /// Whatever the others will say of it.
    #[cfg(test)]
    pub(super) fn unchecked(
        files: &TlsFiles,
        contents: &Contents,
        names: &Names,
    ) -> Result<Credentials, String> {
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(files, contents, &provider, names)?;
        Credentials::of(files, contents, &provider, verifier, None)
    }

    /// The same, showing none where it dials.
    #[cfg(test)]
    pub(super) fn without_a_certificate(&self) -> Credentials {
        let mut client = (*self.client).clone();
        let bare = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("it is known")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        client.client_auth_cert_resolver = bare.client_auth_cert_resolver;
        Credentials { client: Arc::new(client), server: Arc::clone(&self.server), ends: None }
    }

    fn of(
        files: &TlsFiles,
        contents: &Contents,
        provider: &Arc<CryptoProvider>,
        verifier: Arc<Verifier>,
        ends: Option<SystemTime>,
    ) -> Result<Credentials, String> {
        let chain = contents.chain(&files.cert)?;
        let client = client(files, contents, provider, &verifier, chain.clone())?;
        let server = server(files, contents, provider, verifier, chain)?;
        Ok(Credentials { client: Arc::new(client), server: Arc::new(server), ends })
    }
}

fn verifier(
    files: &TlsFiles,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
    names: &Names,
) -> Result<Arc<Verifier>, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!(
            "TLS: the file of the CA, {}, has a certificate that cannot be read: {error}",
            files.ca.display()
        )
    };
    let mut roots = RootCertStore::empty();
    for authority in contents.authorities(&files.ca)? {
        roots.add(authority).map_err(|error| wrong(&error))?;
    }
    let roots = Arc::new(roots);
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
    let clients = clients.build().map_err(|error| wrong(&error))?;
    let algorithms = provider.signature_verification_algorithms;
    Ok(Arc::new(Verifier::new(roots, clients, algorithms, names.members.clone())))
}

/// Judges this member's certificate as the others will. When it ends.
fn check_own(
    files: &TlsFiles,
    chain: &[CertificateDer<'static>],
    verifier: &Verifier,
    names: &Names,
) -> Result<Option<SystemTime>, String> {
    let (own, above) = chain.split_first().ok_or("TLS: there is no certificate")?;
    let presented = names_of(own);
    if !presented.contains(&names.own) {
        return Err(format!(
            "TLS: the certificate in {} is for {}, this member needs one for {} (a URI among its subject alternative names; \
             \"hmn cert member\" makes such certificates)",
            files.cert.display(),
            listed(&presented),
            names.own
        ));
    }
    let judged = |now| verifier.check(own, above, now);
    judged(UnixTime::now()).map_err(|error| words::said_of_own(&error, &files.cert, &files.ca))?;
    // Certificates have no public end; one that is asked about in the far future says it.
    let far = UnixTime::since_unix_epoch(Duration::from_secs(u64::from(u32::MAX) * 64));
    Ok(match judged(far) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))
        }
        _ => None,
    })
}

fn client(
    files: &TlsFiles,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<Verifier>,
    chain: Vec<CertificateDer<'static>>,
) -> Result<ClientConfig, String> {
    let mut client = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| format!("TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>)
        .with_client_auth_cert(chain, contents.key(&files.key)?)
        .map_err(|error| words::said_of_key(&error, &files.cert, &files.key))?;
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    Ok(client)
}

fn server(
    files: &TlsFiles,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
    chain: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, String> {
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| format!("TLS: {error}"))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, contents.key(&files.key)?)
        .map_err(|error| words::said_of_key(&error, &files.cert, &files.key))?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;
    Ok(server)
}
