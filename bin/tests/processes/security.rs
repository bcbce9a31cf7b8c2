//! Members with TLS, as who runs them meets it: the certificates are made by the program, and found by options, by variables
//! and in a configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::program::{Server, WAIT, hmn, members, said, told};

/// Files for three members in this directory.
fn certificates(folder: &Path) -> String {
    let text = folder.to_str().expect("plain").to_owned();
    said(hmn(&["cert", "ca", "--out", &text], ""));
    said(hmn(&["cert", "member", "n1", "n2", "n3", "--ca", &text, "--out", &text], ""));
    text
}

/// A member whose standard error goes into a file of its name.
fn start(folder: &str, name: &str, tls: &[&str], list: &str) -> Server {
    let told = Path::new(folder).join(format!("{name}.told"));
    Server::telling(&told, &[&["--name", name, "--members", list], tls].concat())
}

#[test]
fn three_members_with_certificates_of_the_program() {
    // Aim: what `hmn cert` makes is what `hmn serve` takes, however the files are named to it, and it can be replaced. Method: one
    // member by options, one by variables, one by a configuration; rows go round; one gets a new certificate and is started
    // again; then it is started without TLS, and both ends say what to do.
    let home = tempfile::tempdir().expect("the test holds this");
    let folder = certificates(home.path());
    let (list, ca) = (members(3), format!("{folder}/ca.crt"));
    let file = |name: &str, kind: &str| format!("{folder}/{name}.{kind}");
    let (cert, key) = (file("n1", "crt"), file("n1", "key"));
    let one = start(&folder, "n1", &["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key], &list);
    let mut program = Command::new(env!("CARGO_BIN_EXE_hmn"));
    program
        .env("HMN_TLS_CA", &ca)
        .env("HMN_TLS_CERT", file("n2", "crt"))
        .env("HMN_TLS_KEY", file("n2", "key"));
    program.stderr(std::fs::File::create(file("n2", "told")).expect("the test holds this"));
    let two = Server::started(program, &["--name", "n2", "--members", &list]);
    let (config, cert, key) = (file("n3", "toml"), file("n3", "crt"), file("n3", "key"));
    let text = format!("tls_ca = {ca:?}\ntls_cert = {cert:?}\ntls_key = {key:?}\n");
    std::fs::write(&config, text).expect("the test holds this");
    let three = start(&folder, "n3", &["--config", &config], &list);
    one.says(&["status", "--wait", WAIT]);
    one.says(&["table", "create", "t", "-a", "id:int"]);
    two.says(&["put", "t", "1"]);
    assert_eq!(three.says(&["get", "t", "1", "--format", "csv"]), "id\n1\n");
    let before = std::fs::read(&cert).expect("the test holds this");
    said(hmn(&["cert", "member", "n3", "--ca", &folder, "--out", &folder, "--force"], ""));
    assert_ne!(std::fs::read(&cert).expect("the test holds this"), before);
    three.stop();
    let three = start(&folder, "n3", &["--config", &config], &list);
    three.says(&["status", "--wait", WAIT]);
    three.stop();
    let _plain = start(&folder, "n3", &[], &list);
    told(&[file("n3", "told")], "start this one with --tls-ca, --tls-cert and --tls-key");
    // Which of them it met first is all the same.
    told(&[file("n1", "told"), file("n2", "told")], "it does not speak TLS");
}

#[test]
fn wrong_certificates_and_wrong_words_are_refused_at_the_start() {
    // Aim: a mistake is told where it was made, by the file or the option. Method: options left out, files of another member, a
    // file that is not there, what would be overwritten, names that cannot be.
    let home = tempfile::tempdir().expect("the test holds this");
    let folder = certificates(home.path());
    let file = |name: &str| format!("{folder}/{name}");
    let mode = |name: &str| std::fs::metadata(file(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!([mode("ca.key"), mode("n1.key"), mode("ca.crt")], [0o600, 0o600, 0o644]);
    let (ca, cert, key, away) = (file("ca.crt"), file("n1.crt"), file("n1.key"), file("away.crt"));
    let serve = ["serve", "--client", "127.0.0.1:0", "--with-parent", "--tls-ca", &ca];
    let (again, cluster) =
        (["cert", "member", "n1", "--ca", &folder, "--out", &folder], ["--cluster", "other"]);
    let pair = ["--tls-cert", &cert, "--tls-key", &key];
    type Case<'a> = (&'a [&'a [&'a str]], i32, &'a [&'a str]);
    let cases: [Case<'_>; 8] = [
        (&[&serve, &["--tls-cert", &cert]], 2, &["no --tls-key"]),
        (&[&serve, &pair, &["--name", "n2"]], 1, &["n1.crt", "needs one for hypermnesia://hypermnesia/n2"]),
        (&[&serve, &pair, &cluster], 1, &["n1.crt", "hypermnesia://other/n1"]),
        (&[&serve, &["--tls-cert", &away, "--tls-key", &key]], 1, &["away.crt", "No such file"]),
        (&[&again], 2, &["n1.crt", "--force"]),
        (&[&["cert", "ca", "--out", &folder]], 2, &["ca.crt", "--force"]),
        (&[&["cert", "member", "ca", "--ca", &folder, "--out", &folder]], 2, &["no name for a member"]),
        (
            &[&["cert", "member", "n9", "--ca", "/nowhere", "--out", &folder]],
            1,
            &["/nowhere/ca.crt", "hmn cert ca"],
        ),
    ];
    for (words, code, says) in cases {
        let ended = hmn(&words.concat(), "");
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{words:?}: {text}");
        assert!(says.iter().all(|words| text.contains(words)), "{words:?}: {text}");
    }
    let other = tempfile::tempdir().expect("the test holds this");
    let strange = certificates(other.path());
    std::fs::copy(file("ca.key"), format!("{strange}/ca.key")).expect("copied");
    let mixed = hmn(&["cert", "member", "n9", "--ca", &strange, "--out", &strange], "");
    assert!(
        String::from_utf8_lossy(&mixed.stderr).contains("is not the certificate of the key"),
        "{mixed:?}"
    );
}
