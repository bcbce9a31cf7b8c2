//! `shell`: SQL and a few commands, typed by a person. Statements end with `;` and may span lines; commands begin with `\`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hypermnesia_rpc::client::Client;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use super::{connect, query, table};
use crate::args::Global;
use crate::output::{self, Format, note};

const HELP: &str = "\
SELECT ...;     any statement, over as many lines as it needs, up to the ;
\\d              tables
\\d TABLE        attributes and indexes of a table
\\format F       print as table, json or csv
\\timing         show or hide how long statements take
\\?              this help
\\q              leave (or Ctrl-D); Ctrl-C drops the statement being typed";

/// Lines of history that are kept.
const HISTORY_LINES: usize = 1000;

struct Shell {
    client: Client,
    global: Global,
    timing: bool,
    /// Statements and commands that failed.
    failed: usize,
}

/// Reads and runs until the end of the input.
pub(crate) async fn run(global: &Global) -> Result<()> {
    let client = connect(global).await?;
    let status = client.status().await?;
    note(format_args!("hmn {} at {} ({}). \\? for help.", status.version, status.name, global.addr));
    let shell = Shell { client, global: global.clone(), timing: false, failed: 0 };
    // Reading a line blocks its thread; statements run on the runtime.
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || shell.read_all(&runtime)).await?
}

/// Where history is kept: beside other programs' state.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state =
        state.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
    let folder = state.join("hypermnesia");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

impl Shell {
    fn read_all(mut self, runtime: &tokio::runtime::Handle) -> Result<()> {
        let config = Config::builder().max_history_size(HISTORY_LINES)?.auto_add_history(false).build();
        let mut editor = DefaultEditor::with_config(config)?;
        let history = history_file();
        if let Some(file) = &history {
            // The first time there is none.
            drop(editor.load_history(file));
        }
        let (mut typed, mut lines) = (String::new(), 0_u64);
        loop {
            lines += 1;
            match editor.readline(if typed.is_empty() { "hmn> " } else { "...> " }) {
                Ok(line) => {
                    typed.push_str(&line);
                    typed.push('\n');
                }
                Err(ReadlineError::Interrupted) => {
                    typed.clear();
                    continue;
                }
                Err(ReadlineError::Eof) => {
                    // A script whose last statement has no `;`.
                    if !typed.trim().is_empty() {
                        runtime.block_on(self.one(typed.trim()));
                    }
                    break;
                }
                // What stands around it may not mean the same without it, so nothing more is run.
                Err(error) if is_no_text(&error) => {
                    bail!(
                        "line {lines} is not UTF-8 text: neither it nor what stands behind it was run{}",
                        begun(&typed)
                    )
                }
                Err(error) => return Err(error.into()),
            }
            let said = typed.trim();
            if said.is_empty() {
                typed.clear();
            } else if said.starts_with('\\') || said.ends_with(';') {
                editor.add_history_entry(said)?;
                let said = std::mem::take(&mut typed);
                if !runtime.block_on(self.one(said.trim())) {
                    break;
                }
            }
        }
        if let Some(file) = &history
            && let Err(error) = editor.save_history(file)
        {
            note(format_args!("the history was not saved to {}: {error}", file.display()));
        }
        // A person has seen what failed; a script is told at the end.
        match self.failed {
            0 => Ok(()),
            _ if std::io::stdin().is_terminal() => Ok(()),
            1 => bail!("1 statement or command failed"),
            failed => bail!("{failed} statements or commands failed"),
        }
    }

    /// Runs one statement or command; false when it was the last.
    async fn one(&mut self, said: &str) -> bool {
        let begin = Instant::now();
        let outcome = match said.strip_prefix('\\') {
            Some(command) => match self.command(command).await {
                Ok(go_on) => return go_on,
                Err(error) => Err(error),
            },
            None => self.statement(said.trim_end_matches(';')).await,
        };
        if let Err(error) = outcome {
            if output::is_closed_pipe(&error) {
                return false; // nobody reads the answers any more
            }
            note(super::told(&error, &self.global));
            self.failed += 1;
        }
        if self.timing {
            note(elapsed(begin.elapsed()));
        }
        true
    }

    async fn statement(&self, statement: &str) -> Result<()> {
        let mut out = std::io::BufWriter::new(std::io::stdout());
        if let Some(said) =
            query::execute(&self.client, self.global.format, statement, Vec::new(), &mut out).await?
        {
            note(said);
        }
        Ok(())
    }

    async fn command(&mut self, command: &str) -> Result<bool> {
        let mut words = command.split_whitespace();
        match (words.next().unwrap_or_default(), words.next()) {
            ("q", _) => return Ok(false),
            ("?", _) => note(HELP),
            ("timing", _) => {
                self.timing = !self.timing;
                note(format_args!("timing is {}", if self.timing { "on" } else { "off" }));
            }
            ("d", None) => table::show::list(&self.global, &self.client.tables().await?)?,
            ("d", Some(name)) => {
                let info = self.client.describe_table(name.trim_end_matches(';')).await?;
                table::show::table(&self.global, super::definition(&info)?, Some(&info))?;
            }
            ("format", Some(name)) => match <Format as clap::ValueEnum>::from_str(name, true) {
                Ok(format) => self.global.format = format,
                Err(_) => bail!("\\format takes table, json or csv"),
            },
            ("format", None) => bail!("\\format takes table, json or csv"),
            _ => bail!("there is no command \\{command}; \\? lists them"),
        }
        Ok(true)
    }
}

/// A line whose bytes are no text.
fn is_no_text(error: &ReadlineError) -> bool {
    matches!(error, ReadlineError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData)
}

/// What is said of a statement that was not ended when the input was.
fn begun(typed: &str) -> &'static str {
    if typed.trim().is_empty() { "" } else { ", nor the statement that it is in" }
}

fn elapsed(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}
