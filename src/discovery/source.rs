//! One place that says where members may be: an address, a name in the DNS, or a file.

use std::fmt::{Display, Formatter};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{Found, resolve};
use crate::error::{Error, Result};
use crate::limits::{DISCOVERY_ADDRESSES_MAX, DISCOVERY_FILE_BYTES_MAX};

/// Longest name in the DNS, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// How much of a bad line is shown, in characters.
const SHOWN_MAX: usize = 60;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// HOST:PORT.
    Address(String),
    /// All A and AAAA records of a name; without a port that of the node that asks, as members behind one name have the same.
    Name(String, Option<u16>),
    /// One HOST:PORT a line.
    File(PathBuf),
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Address(address) => f.write_str(address),
            Source::Name(name, None) => write!(f, "dns:{name}"),
            Source::Name(name, Some(port)) => write!(f, "dns:{name}:{port}"),
            Source::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Source {
    /// Refuses what can never be right.
    pub(crate) fn parse(text: &str) -> Result<Source> {
        let source = if let Some(name) = text.strip_prefix("dns:") {
            name_and_port(name).map(|(name, port)| Source::Name(name.to_owned(), port))
        } else if let Some(path) = text.strip_prefix("file:") {
            if path.is_empty() { Err("there is no path") } else { Ok(Source::File(PathBuf::from(path))) }
        } else {
            check_address(text).map(|()| Source::Address(text.to_owned()))
        };
        source.map_err(|why| {
            Error::Config(format!(
                "whom to join, {text:?}: {why}; HOST:PORT, dns:NAME[:PORT] or file:PATH is wanted, as in 10.0.0.1:7401, \
                 dns:members.example:7401 or file:/etc/hmn/members"
            ))
        })
    }

    /// The addresses that are there now. Troubles may pass: records and files come later.
    pub(super) async fn look(&self, own_port: u16) -> Found {
        match self {
            Source::Address(address) => Found { addresses: vec![address.clone()], troubles: Vec::new() },
            Source::Name(name, port) => self.of_name(name, port.unwrap_or(own_port)).await,
            Source::File(path) => self.of_file(path),
        }
    }

    async fn of_name(&self, name: &str, port: u16) -> Found {
        let mut found = Found::default();
        match resolve(&format!("{name}:{port}")).await {
            Ok(all) => all.iter().for_each(|address| found.suggest(address.to_string())),
            Err(error) => {
                return Found::trouble(format!(
                    "{self}: the name {name:?} has no address now ({error}); it is asked again. If that lasts, see whether the name \
                     and this machine's resolver are right: getent ahosts {name}"
                ));
            }
        }
        if found.addresses.is_empty() {
            found.troubles.push(format!("{self}: the name {name:?} has no address now; it is asked again"));
        }
        found.bounded(self)
    }

    /// Reads it here and now: it is short, and the thread waits for nothing else.
    fn of_file(&self, path: &Path) -> Found {
        match read(path) {
            Ok(text) => self.of_text(&text),
            Err(why) => Found::trouble(format!("{self}: {why}; it is read again at each try")),
        }
    }

    /// Good lines count beside bad ones: they are suggestions, and half a list may be enough.
    fn of_text(&self, text: &str) -> Found {
        let (mut found, mut bad) = (Found::default(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let address = line.split('#').next().unwrap_or_default().trim();
            match check_address(address) {
                _ if address.is_empty() => {}
                Ok(()) => found.suggest(address.to_owned()),
                Err(why) => bad.push((number, address, why)),
            }
        }
        if let Some((number, line, why)) = bad.first() {
            let shown: String = line.chars().take(SHOWN_MAX).collect();
            let more = if bad.len() > 1 { format!(" (and {} more)", bad.len() - 1) } else { String::new() };
            found.troubles.push(format!(
                "{self}, line {number}: {shown:?}: {why}{more}; one HOST:PORT a line is wanted, as in 10.0.0.1:7401, and # begins a \
                 comment"
            ));
        } else if found.addresses.is_empty() {
            found.troubles.push(format!(
                "{self} has no address: one HOST:PORT a line is wanted, as in 10.0.0.1:7401; it is read again at each try"
            ));
        }
        found.bounded(self)
    }
}

fn read(path: &Path) -> std::result::Result<String, String> {
    let wrong = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => "the file is not there yet".to_owned(),
        _ => format!("the file cannot be read ({error}): see its owner and mode"),
    };
    // A pipe would be waited for until somebody writes to it.
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err("this is not a file: give the path of one with addresses".to_owned());
    }
    let most = DISCOVERY_FILE_BYTES_MAX;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() > most {
        return Err(format!(
            "the file is longer than {} KiB: leave it at {DISCOVERY_ADDRESSES_MAX} addresses",
            most / 1024
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| "the file is not UTF-8 text: give the path of one with addresses".to_owned())
}

fn name_and_port(text: &str) -> std::result::Result<(&str, Option<u16>), &'static str> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(parsed_port(port)?)),
        None => (text, None),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        return Err("there is no name");
    }
    if name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
        return Err("this is no name in the DNS");
    }
    // A host may be called dns.
    if name.chars().all(|c| c.is_ascii_digit()) {
        return Err("the name is only digits (a host called dns is dns:dns:PORT)");
    }
    Ok((name, port))
}

fn check_address(text: &str) -> std::result::Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("there is no port")?;
    // Colons within a host are those of an IPv6 address, which then stands in brackets.
    let is_whole = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || !is_whole || host.contains(|c: char| c.is_whitespace() || "/@,".contains(c)) {
        return Err("this is no host");
    }
    parsed_port(port).map(drop)
}

fn parsed_port(text: &str) -> std::result::Result<u16, &'static str> {
    let port = text.parse().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    port.ok_or("a port is a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path) -> Source {
        Source::parse(&format!("file:{}", path.display())).expect("it has a path")
    }

    #[test]
    fn what_can_never_be_right_is_refused() {
        // Aim: a slip in whom to join is told at the start, with what is wanted. Method: good ones of each sort, which show as they were
        // written, and bad ones with the reason for each.
        for good in [
            "10.0.0.1:7401",
            "n1:7401",
            "[::1]:65535",
            "dns:a-b_c.example",
            "dns:a:1",
            "dns:dns:7401",
            "file:a:b",
        ] {
            assert_eq!(Source::parse(good).expect(good).to_string(), good);
        }
        let bad = [
            ("", "no port"),
            ("n1", "no port"),
            (":7401", "no host"),
            ("::1:7401", "no host"),
            ("a b:1", "no host"),
            ("n1:0", "1 to 65535"),
            ("n1:65536", "1 to 65535"),
            ("n1:+1", "1 to 65535"),
            ("dns:", "no name"),
            ("dns::7401", "no name"),
            ("dns:7401", "dns:dns:PORT"),
            ("dns:a:0", "1 to 65535"),
            ("dns:a:65536", "1 to 65535"),
            ("dns:a:", "1 to 65535"),
            ("dns:a/b", "no name in the DNS"),
            ("file:", "no path"),
        ];
        for (text, why) in bad {
            let error = Source::parse(text).expect_err(text).to_string();
            assert!(error.contains(why) && error.contains(&format!("{text:?}")), "{text:?}: {error}");
            assert!(error.contains("dns:NAME[:PORT] or file:PATH is wanted"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_anew_at_each_look() {
        // Aim: a list may come, change and be mended while a node looks. Method: no file; one with all that a line may be; a bad line
        // among good ones, of which the number is told; an empty one; no text; a directory.
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("members");
        let source = file(&path);
        let looked = async || source.look(1).await;
        let missing = looked().await;
        assert!(missing.addresses.is_empty() && missing.troubles[0].contains("not there yet"), "{missing:?}");
        assert!(missing.troubles[0].contains(&path.display().to_string()), "{missing:?}");
        std::fs::write(&path, "# all\r\n\r\n  n1:7401 # the first\r\n[::1]:7411\nn1:7401").expect("written");
        let found = Found { addresses: vec!["n1:7401".into(), "[::1]:7411".into()], troubles: Vec::new() };
        assert_eq!(looked().await, found);
        std::fs::write(&path, "n1:7401\n\nn2\nn3:0\nn4:7431\n").expect("written");
        let bad = looked().await;
        assert_eq!(bad.addresses, ["n1:7401", "n4:7431"]);
        let why = &bad.troubles[0];
        assert!(why.contains("line 3: \"n2\": there is no port (and 1 more)"), "{why}");
        std::fs::write(&path, "# nobody\n").expect("written");
        assert!(looked().await.troubles[0].contains("has no address"));
        std::fs::write(&path, [0xff]).expect("written");
        assert!(looked().await.troubles[0].contains("not UTF-8"));
        assert!(file(folder.path()).look(1).await.troubles[0].contains("not a file"));
    }

    #[tokio::test]
    async fn a_file_is_bounded() {
        // Aim: a wrong file costs neither memory nor an endless round. Method: one address more than the bound, and one byte more.
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("members");
        let many: String = (0..=DISCOVERY_ADDRESSES_MAX).map(|n| format!("n{n}:7401\n")).collect();
        std::fs::write(&path, &many).expect("written");
        let found = file(&path).look(1).await;
        assert_eq!(found.addresses.len(), DISCOVERY_ADDRESSES_MAX);
        assert!(found.troubles[0].contains("has 65 addresses, of which the first 64"), "{found:?}");
        let filled = |length: usize| format!("n1:7401\n{}", "#".repeat(length - 8));
        std::fs::write(&path, filled(DISCOVERY_FILE_BYTES_MAX)).expect("written");
        assert_eq!(file(&path).look(1).await.addresses, ["n1:7401"]);
        std::fs::write(&path, filled(DISCOVERY_FILE_BYTES_MAX + 1)).expect("written");
        let found = file(&path).look(1).await;
        assert!(found.addresses.is_empty() && found.troubles[0].contains("longer than 64 KiB"), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_is_asked_for_all_its_addresses() {
        // Aim: every address of a name is suggested, at the port that was said or the node's own; a name without any is told with what to
        // do. Method: localhost, which every machine has, and a name that is reserved for not being there.
        let found = Source::parse("dns:localhost").expect("one").look(7431).await;
        assert!(found.troubles.is_empty(), "{found:?}");
        let loopback = ["127.0.0.1:7431", "[::1]:7431"];
        assert!(!found.addresses.is_empty(), "{found:?}");
        assert!(found.addresses.iter().all(|one| loopback.contains(&one.as_str())), "{found:?}");
        let found = Source::parse("dns:localhost:7").expect("one").look(7431).await;
        assert!(found.addresses.iter().all(|one| one.ends_with(":7")), "{found:?}");
        let none = Source::parse("dns:members.invalid:7401").expect("one").look(1).await;
        let why = &none.troubles[0];
        assert!(none.addresses.is_empty() && why.contains("\"members.invalid\" has no address now"), "{why}");
        assert!(why.contains("getent ahosts members.invalid"), "{why}");
    }
}
