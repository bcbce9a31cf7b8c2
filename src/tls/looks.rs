//! What is found in the files of certificates: at the start, and while a member runs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use tempfile::TempDir;

use super::certificates::{Authority, BOTH, Files, Wanted};
use super::{Look, Names, Tls, TlsFiles, uri};
use crate::limits::TLS_END_TOLD_BEFORE;
use crate::{Error, Node};

fn names() -> Names {
    Names { own: uri("c", "n1"), members: uri("c", "") }
}

fn good(authority: &Authority, folder: &TempDir) -> TlsFiles {
    let Files { ca, cert, key } = authority.member(folder.path(), "n1", &uri("c", "n1"));
    TlsFiles { ca, cert, key }
}

fn begun() -> (Tls, Authority, TempDir, TlsFiles) {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().expect("a directory"));
    let files = good(&authority, &folder);
    let (tls, warnings) = Tls::load(files.clone(), names()).expect("good files");
    assert_eq!(warnings, Vec::<String>::new());
    (tls, authority, folder, files)
}

fn look(tls: &Tls) -> Look {
    tls.look(SystemTime::now())
}

/// What two looks find.
fn looked(tls: &Tls) -> Look {
    assert!(matches!(look(tls), Look::Same), "files that are just being replaced are waited for");
    look(tls)
}

#[test]
fn what_is_wrong_at_the_start_is_said_with_the_file() {
    // Aim: nobody starts with files that others would refuse, and the error names the file and what to do. Method: one wrong
    // thing at a time, with the builder.
    let (_, authority, folder, files) = begun();
    let stranger = Authority::new("theirs").member(folder.path(), "stranger", &uri("c", "n1"));
    let own = uri("c", "n1");
    let issued = |name: &str, uris: &[&str], uses: &[_], expired: bool| {
        authority.files(folder.path(), name, &Wanted { uris, uses, expired })
    };
    let (old, client) =
        (issued("old", &[&own], &BOTH, true), issued("client", &[&own], &[ClientAuth], false));
    let server = issued("server", &[&own], &[ServerAuth], false);
    let (other, nobody) =
        (issued("other", &["hypermnesia://c/n2"], &BOTH, false), issued("nobody", &[], &BOTH, false));
    let text = folder.path().join("text");
    std::fs::write(&text, "-----BEGIN CERTIFICATE-----\nnonsense").expect("written");
    let long = folder.path().join("long");
    std::fs::write(&long, vec![b'\n'; 2 << 20]).expect("written");
    let away = folder.path().join("away");
    let TlsFiles { ca, cert, key } = &files;
    let cases: [(&Path, &Path, &Path, &[&str]); 14] = [
        (&away, cert, key, &["of the CA", "away", "No such file"]),
        (ca, &away, key, &["of the certificate", "away"]),
        (ca, cert, &away, &["of the key", "away"]),
        (&text, cert, key, &["of the CA", "text", "damaged"]),
        (ca, &long, key, &["of the certificate", "long", "longer than"]),
        (ca, key, key, &["n1.key", "no certificate in PEM form"]),
        (ca, cert, cert, &["n1.crt", "no private key"]),
        (ca, cert, &stranger.key, &["stranger.key", "n1.crt", "not that of"]),
        (ca, &stranger.cert, &stranger.key, &["stranger.crt", "n1.ca", "was not issued"]),
        (ca, &old.cert, &old.key, &["old.crt", "ended", "days ago", "issue a new one"]),
        (ca, &client.cert, &client.key, &["client.crt", "serverAuth and clientAuth"]),
        (ca, &server.cert, &server.key, &["server.crt", "serverAuth and clientAuth"]),
        (
            ca,
            &other.cert,
            &other.key,
            &["other.crt", "hypermnesia://c/n2", "needs one for hypermnesia://c/n1"],
        ),
        (ca, &nobody.cert, &nobody.key, &["nobody.crt", "nobody", "hypermnesia://c/n1"]),
    ];
    for (ca, cert, key, words) in cases {
        let members = [("n1", "127.0.0.1:0"), ("n2", "127.0.0.1:1")];
        let node = Node::builder().cluster("c").members(members).tls(ca, cert, key).build();
        let Err(Error::Config(why)) = node.map(drop) else { panic!("it starts: {words:?}") };
        assert!(words.iter().all(|word| why.contains(word)), "{words:?}: {why}");
    }
}

#[test]
fn a_key_that_all_may_read_is_mentioned() {
    // Aim: a key that is open to every user does not stay so unnoticed. Method: its permissions changed.
    use std::os::unix::fs::PermissionsExt;
    let (_, _, _folder, files) = begun();
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o644)).expect("it is ours");
    let (_, warnings) = Tls::load(files, names()).expect("good files");
    assert!(
        matches!(&warnings[..], [one] if one.contains("n1.key") && one.contains("chmod")),
        "{warnings:?}"
    );
}

#[test]
fn new_files_are_taken_when_they_are_whole() {
    // Aim: whatever is written over the files while a member runs, it has certificates that work, and says once what is wrong.
    // Method: new files one by one, looked at in between; damaged ones, none at all, good ones again.
    let (tls, authority, folder, files) = begun();
    assert!(matches!(look(&tls), Look::Same));
    let first = std::sync::Arc::as_ptr(&tls.current.lock().client);
    let current = || std::sync::Arc::as_ptr(&tls.current.lock().client);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let next = good(&authority, &elsewhere);
    std::fs::copy(&next.cert, &files.cert).expect("copied");
    assert!(matches!(look(&tls), Look::Same), "the key will follow");
    std::fs::copy(&next.key, &files.key).expect("copied");
    assert!(matches!(looked(&tls), Look::Taken(warnings) if warnings.is_empty()));
    assert_ne!(current(), first, "new connections use them");
    let second = current();
    std::fs::write(&files.cert, "nonsense").expect("written");
    assert!(matches!(looked(&tls), Look::Refused(why) if why.contains("n1.crt")));
    assert!(matches!(look(&tls), Look::Same), "it is said once");
    std::fs::remove_file(&files.key).expect("it was there");
    assert!(matches!(look(&tls), Look::Refused(why) if why.contains("n1.key")));
    assert!(matches!(look(&tls), Look::Same), "it is said once");
    assert_eq!(current(), second, "what works stays in use");
    good(&authority, &folder);
    assert!(matches!(looked(&tls), Look::Taken(_)));
    assert_ne!(current(), second);
}

#[test]
fn the_end_of_a_certificate_is_told_before_it_comes() {
    // Aim: nobody is surprised by the end of a certificate. Method: looks long before it, shortly before, again, and behind it.
    let (tls, authority, folder, _files) = begun();
    let end = tls.current.lock().ends.expect("certificates end");
    assert!(matches!(tls.look(end - TLS_END_TOLD_BEFORE - Duration::from_secs(60)), Look::Same));
    let near = end - Duration::from_secs(3 * 24 * 60 * 60 + 60);
    assert!(
        matches!(tls.look(near), Look::Ends(what) if what.contains("n1.crt") && what.contains("in 3 days"))
    );
    assert!(matches!(tls.look(near), Look::Same), "it is not told at every look");
    good(&authority, &folder);
    assert!(matches!(looked(&tls), Look::Taken(_)));
    assert!(matches!(tls.look(end + Duration::from_secs(1)), Look::Ends(what) if what.contains("has ended")));
}
