//! TLS between members: who may be spoken to is said by certificates. Every member has one of its own, issued by an authority
//! that all trust, for the name `hypermnesia://CLUSTER/NAME`; both ends show theirs, TLS 1.3 alone is spoken, nothing is resumed
//! and nothing is sent before the handshake is over (what is sent early can be replayed). The certificates are files, which are
//! looked at every few seconds: what has changed is used for new connections, and what is wrong with it is told while the
//! former ones stay in use. Connections live on with the certificate that they began with.

#[cfg(test)]
#[path = "../tests/shared/certificates.rs"]
pub(crate) mod certificates;
mod credentials;
mod files;
mod identity;
#[cfg(test)]
mod looks;
mod verifier;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

pub(crate) use identity::names_of;
pub use identity::uri;
pub(crate) use words::said_of;
use words::span;

use crate::error::{Error, Result};
use crate::limits::{TLS_END_TOLD_BEFORE, TLS_END_TOLD_EVERY};
use credentials::Credentials;
use files::Contents;

/// Where a member's certificates are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Whom a member's certificates speak of.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The member itself, as in its certificate.
    pub(crate) own: String,
    /// What the names of all members of its cluster begin with.
    pub(crate) members: String,
}

/// See the file's header.
pub(crate) struct Tls {
    files: TlsFiles,
    names: Names,
    /// What new connections begin with. Held for a copy. A leaf lock.
    current: Mutex<Arc<Credentials>>,
    /// What was found in the files. Held while they are read, by one thread at a time: nobody else takes it.
    watch: Mutex<Watch>,
}

struct Watch {
    /// What `current` was made of, or what was refused last.
    judged: Contents,
    /// What the last look found: files that are being replaced one after the other are waited for.
    seen: Contents,
    /// When the end of the certificate was told last.
    told_end: Option<Instant>,
}

/// What a look at the files has found.
#[derive(Debug)]
pub(crate) enum Look {
    /// Nothing new.
    Same,
    /// New files are in use, and this should be known about them.
    Taken(Vec<String>),
    /// New files cannot be used.
    Refused(String),
    /// The certificate in use ends soon.
    Ends(String),
}

impl Tls {
    /// Reads the files. Also what should be known about them.
    pub(crate) fn load(files: TlsFiles, names: Names) -> Result<(Tls, Vec<String>)> {
        let contents = Contents::read(&files).map_err(Error::Config)?;
        let credentials = Credentials::new(&files, &contents, &names).map_err(Error::Config)?;
        let warnings = files::warnings(&files);
        Ok((Tls::of(files, names, contents, credentials), warnings))
    }

    fn of(files: TlsFiles, names: Names, contents: Contents, credentials: Credentials) -> Tls {
        let watch = Watch { judged: contents.clone(), seen: contents, told_end: None };
        Tls { files, names, current: Mutex::new(Arc::new(credentials)), watch: Mutex::new(watch) }
    }

    /// Of a member that does not look at its own certificate, so that others have to.
    #[cfg(test)]
    pub(crate) fn unchecked(files: TlsFiles, names: Names) -> Tls {
        let contents = Contents::read(&files).expect("the test has written them");
        let credentials = Credentials::unchecked(&files, &contents, &names).expect("they can be read");
        Tls::of(files, names, contents, credentials)
    }

    /// Shows no certificate any more where it dials.
    #[cfg(test)]
    pub(crate) fn without_a_certificate(self) -> Tls {
        let bare = self.current.lock().without_a_certificate();
        *self.current.lock() = Arc::new(bare);
        self
    }

    /// For a connection that this member dials.
    pub(crate) fn dialled(&self) -> Result<Connection, rustls::Error> {
        let client = Arc::clone(&self.current.lock().client);
        // It is sent to nobody and compared with nothing: the verifier knows the members by another name.
        let nobody = ServerName::try_from("member").expect("a short word is a name");
        Ok(Connection::Client(ClientConnection::new(client, nobody)?))
    }

    /// For a connection that came to this member.
    pub(crate) fn accepted(&self) -> Result<Connection, rustls::Error> {
        let server = Arc::clone(&self.current.lock().server);
        Ok(Connection::Server(ServerConnection::new(server)?))
    }

    /// Looks at the files once. Reads them, so not for a thread that others wait for.
    pub(crate) fn look(&self, now: SystemTime) -> Look {
        let mut watch = self.watch.lock();
        let found = match Contents::read(&self.files) {
            Ok(found) => found,
            Err(_) if watch.seen.is_unreadable() => return Look::Same,
            Err(why) => {
                watch.seen = Contents::unreadable();
                return Look::Refused(why);
            }
        };
        let settled = watch.seen == found;
        watch.seen = found;
        if settled && watch.seen != watch.judged {
            watch.judged = watch.seen.clone();
            return self.judge(&mut watch);
        }
        self.end_of_use(&mut watch, now)
    }

    fn judge(&self, watch: &mut Watch) -> Look {
        match Credentials::new(&self.files, &watch.judged, &self.names) {
            Ok(credentials) => {
                *self.current.lock() = Arc::new(credentials);
                watch.told_end = None;
                Look::Taken(files::warnings(&self.files))
            }
            Err(why) => Look::Refused(why),
        }
    }

    fn end_of_use(&self, watch: &mut Watch, now: SystemTime) -> Look {
        let Some(end) = self.current.lock().ends else { return Look::Same };
        let left = end.duration_since(now).unwrap_or(Duration::ZERO);
        let told = watch.told_end.is_some_and(|at| at.elapsed() < TLS_END_TOLD_EVERY);
        if left > TLS_END_TOLD_BEFORE || told {
            return Look::Same;
        }
        watch.told_end = Some(Instant::now());
        let when = match left.is_zero() {
            true => "has ended: no new connection is possible".to_owned(),
            false => format!("ends in {}", span(left)),
        };
        let cert = self.files.cert.display();
        Look::Ends(format!(
            "the certificate in {cert} {when}; put a new one there, it is taken without a restart"
        ))
    }
}
