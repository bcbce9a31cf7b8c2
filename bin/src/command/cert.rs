//! `cert`: an authority and certificates for members, for those who have none yet. Nothing is sent anywhere; all of it is files.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hypermnesia::member_uri;

use crate::args::Usage;
use crate::authority::{self, Authority};
use crate::output::say;

const ABOUT: &str = "\
For tests and small private clusters: whoever has ca.key can make members, so keep it away from the machines of members and from \
other people. Larger places have an authority of their own; what a member's certificate must have is in docs/security.md.

  hmn cert ca --out certs
  hmn cert member n1 n2 n3 --ca certs --out certs

A member gets ca.crt, its own NAME.crt and its own NAME.key, nothing else. New files in their place are taken without a restart: \
\"hmn cert member n1 --ca certs --out certs --force\" before the old certificate ends.";

/// Make certificates for TLS between members.
#[derive(Debug, Subcommand)]
#[command(after_help = ABOUT)]
pub(crate) enum CertCommand {
    /// Make an authority: ca.crt for all members, ca.key for nobody but you.
    Ca(CaArgs),
    /// Issue certificates for members: NAME.crt and NAME.key for each, beside a copy of ca.crt.
    Member(MemberArgs),
}

/// Make an authority.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct CaArgs {
    /// Where to write ca.crt and ca.key; made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many days it is in force.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Replace an authority that is there. Certificates of the old one are worth nothing to members that have the new one.
    #[arg(long)]
    force: bool,
}

/// Issue certificates for members.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct MemberArgs {
    /// Names of members, as in `hmn serve --name`.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The directory of the authority.
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Where to write the files; made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The cluster's name, as in `hmn serve --cluster`: a certificate is for a member of one cluster.
    #[arg(long, default_value = "hypermnesia")]
    cluster: String,
    /// How many days they are in force.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) fn run(command: CertCommand) -> Result<()> {
    match command {
        CertCommand::Ca(args) => ca(&args),
        CertCommand::Member(args) => members(&args),
    }
}

fn ca(args: &CaArgs) -> Result<()> {
    let (certificate, key) = (authority::certificate_in(&args.out), authority::key_in(&args.out));
    prepare(&args.out, &[&certificate, &key], args.force)?;
    let made = authority::make(args.days)?;
    write(&key, &made.key, true)?;
    write(&certificate, &made.certificate, false)?;
    say(format_args!("{}  the authority, until {}: for every member", certificate.display(), made.ends))?;
    say(format_args!("{}  its key: whoever has it can make members", key.display()))?;
    say("\nCertificates for three members:")?;
    let folder = quoted(&args.out);
    say(format_args!("  hmn cert member n1 n2 n3 --ca {folder} --out {folder}"))
}

fn members(args: &MemberArgs) -> Result<()> {
    args.names.iter().try_for_each(|name| check_name(name))?;
    let authority = Authority::open(&args.ca)?;
    let files: Vec<_> = args.names.iter().map(|name| Files::of(&args.out, &args.cluster, name)).collect();
    let all: Vec<&Path> = files.iter().flat_map(|files| [files.certificate.as_path(), &files.key]).collect();
    prepare(&args.out, &all, args.force)?;
    let ca = authority::certificate_in(&args.out);
    match std::fs::read_to_string(&ca) {
        Ok(there) if there == authority.certificate => {}
        Ok(_) if !args.force => {
            return Err(Usage::error(format!(
                "{} is that of another authority: choose another directory, or give --force",
                ca.display()
            )));
        }
        _ => write(&ca, &authority.certificate, false)?,
    }
    for (name, files) in args.names.iter().zip(&files) {
        let uri = member_uri(&args.cluster, name);
        let issued = authority.issue(&uri, args.days)?;
        write(&files.key, &issued.key, true)?;
        write(&files.certificate, &issued.certificate, false)?;
        let (certificate, key) = (files.certificate.display(), files.key.display());
        say(format_args!("{certificate}, {key}  for {uri}, until {}", issued.ends))?;
    }
    tell_start(args, &ca, &files)
}

/// Says how members are started with their files.
fn tell_start(args: &MemberArgs, ca: &Path, files: &[Files]) -> Result<()> {
    let port = |at: usize| 7400 + 10 * at;
    let each = args.names.iter().enumerate();
    let list: Vec<_> = each.map(|(at, name)| format!("{name}=127.0.0.1:{}", port(at) + 1)).collect();
    let cluster = match args.cluster.as_str() {
        "hypermnesia" => String::new(),
        name => format!(" --cluster {}", quoted(name)),
    };
    say(
        "\nStart them, with the addresses of your machines; each needs ca.crt and its own two files, none needs ca.key:",
    )?;
    args.names.iter().zip(files).enumerate().try_for_each(|(at, (name, files))| {
        say(format_args!(
            "  hmn serve --name {}{cluster} --client 127.0.0.1:{} --members {} --tls-ca {} --tls-cert {} --tls-key {}",
            quoted(name),
            port(at),
            quoted(list.join(",")),
            quoted(ca),
            quoted(&files.certificate),
            quoted(&files.key)
        ))
    })
}

/// Where a member's files go.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(folder: &Path, cluster: &str, member: &str) -> Files {
        // As in the certificate, where every name is one without slashes.
        let uri = member_uri(cluster, member);
        let name = uri.rsplit_once('/').map_or(member, |(_, name)| name);
        Files { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
    }
}

fn check_name(name: &str) -> Result<()> {
    // The files of a member of the name "ca" would be those of the authority.
    let good =
        name != "ca" && !name.is_empty() && !name.chars().any(|c| c.is_control() || c == ',' || c == '=');
    if good {
        Ok(())
    } else {
        Err(Usage::error(format!("{name:?} is no name for a member, or not one beside ca.crt and ca.key")))
    }
}

/// Makes the directory, and sees that nothing in it is lost.
fn prepare(folder: &Path, files: &[&Path], force: bool) -> Result<()> {
    if let Some(there) = files.iter().find(|file| file.exists() && !force) {
        let there = there.display();
        return Err(Usage::error(format!("{there} is there already: give --force to replace it")));
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Writes a file, which has its name when it is whole: a member that runs may be looking at it.
fn write(path: &Path, text: &str, secret: bool) -> Result<()> {
    let mut half = path.as_os_str().to_owned();
    half.push(".tmp");
    let half = PathBuf::from(half);
    // One that was left by an end by force may have other permissions.
    drop(std::fs::remove_file(&half));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if secret { 0o600 } else { 0o644 })
        .open(&half)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&half, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// A word as a shell takes it.
fn quoted(word: impl AsRef<std::ffi::OsStr>) -> String {
    let word = word.as_ref().to_string_lossy().into_owned();
    let plain =
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:=,@%+".contains(c));
    if plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
