//! `CREATE TABLE .. WITH (..)`: what a table is besides its columns, by the names that `hmn table create` has for it.

use std::time::Duration;

use hypermnesia_store::calendar::length;
use hypermnesia_store::size::size;
use hypermnesia_store::{Ack, Kind, Storage};
use sqlparser::ast;

use super::{Parsed, unsupported};
use crate::error::{ErrorKind, Fault, Span};
use crate::schema::CreateTable;

const NAMES: [&str; 12] = [
    "kind",
    "storage",
    "cache",
    "ack",
    "copies",
    "local",
    "duplicates",
    "ttl",
    "max_idle",
    "rows_max",
    "bytes_max",
    "evict",
];

/// One option.
struct Given {
    name: String,
    span: Span,
    value: String,
}

/// Reads all of them into the table.
pub(super) fn read(create: &mut CreateTable, options: Vec<ast::SqlOption>) -> Parsed<()> {
    let options = options.into_iter().map(given).collect::<Parsed<Vec<Given>>>()?;
    for (n, option) in options.iter().enumerate() {
        if options[..n].iter().any(|other| other.name == option.name) {
            let message = format!("the option {} is given twice", option.name);
            return Err(Fault::new(ErrorKind::Name, option.span, message));
        }
        set(create, option)?;
    }
    check(create, &options)
}

fn given(option: ast::SqlOption) -> Parsed<Given> {
    let ast::SqlOption::KeyValue { key: name, value } = option else {
        return Err(unsupported(Span::NONE, "an option without a value").behind(&["WITH"]));
    };
    let span: Span = name.span.into();
    let value = text(value, span)?;
    Ok(Given { name: name.value.to_ascii_lowercase(), span, value })
}

fn text(value: ast::Expr, span: Span) -> Parsed<String> {
    match value {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) => Ok(text),
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(digits, false), .. }) => Ok(digits),
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Boolean(truth), .. }) => {
            Ok(truth.to_string())
        }
        ast::Expr::Identifier(word) => Ok(word.value),
        _ => Err(Fault::new(
            ErrorKind::Syntax,
            span,
            "the value of an option is a word, a text or a whole number",
        )),
    }
}

fn set(create: &mut CreateTable, option: &Given) -> Parsed<()> {
    match option.name.as_str() {
        "kind" => create.kind = option.one_of(kind, "set, ordered_set, bag")?,
        "storage" => create.storage = Some(option.one_of(storage, "ram, disc, disc_only")?),
        // Its storage may be said behind it: see below.
        "cache" => drop(option.one_of(bytes, SIZES)?),
        "ack" => create.ack = Some(option.one_of(ack, "memory, logged, synced")?),
        "copies" => {
            let names = option.one_of(|text| Some(text.to_owned()), "names of members")?;
            create.copies = Some(names.split(',').map(|member| member.trim().to_owned()).collect());
        }
        "local" => create.local = option.is_said()?,
        "duplicates" => create.duplicates = option.is_said()?,
        "ttl" => create.ttl = Some(option.one_of(time, TIMES)?),
        "max_idle" => create.max_idle = Some(option.one_of(time, TIMES)?),
        "rows_max" => create.rows_max = Some(option.one_of(rows, "whole numbers from 1")?),
        "bytes_max" => create.bytes_max = Some(option.one_of(bytes, SIZES)?),
        "evict" => create.evict = option.is_said()?,
        other => {
            let fault = Fault::new(ErrorKind::Name, option.span, format!("tables have no option {other:?}"));
            return Err(fault.hint(format!("there are {}", NAMES.join(", "))));
        }
    }
    Ok(())
}

const SIZES: &str = "sizes such as 64MiB, 2GiB, 4194304";
const TIMES: &str = "lengths of time such as 90s, 15m, 12h, 7d";

impl Given {
    /// The value as this kind of thing, of which there are these.
    fn one_of<T>(&self, read: impl Fn(&str) -> Option<T>, there_are: &str) -> Parsed<T> {
        read(&self.value).ok_or_else(|| {
            Fault::new(ErrorKind::Value, self.span, format!("{:?} is no {}", self.value, self.name))
                .hint(format!("there are {there_are}"))
        })
    }

    fn is_said(&self) -> Parsed<bool> {
        self.one_of(|text| text.to_ascii_lowercase().parse().ok(), "true, false")
    }
}

/// What one option is without another.
fn check(create: &mut CreateTable, options: &[Given]) -> Parsed<()> {
    let alone = |option: &Given, message: &str, hint: &str| {
        Err(Fault::new(ErrorKind::Value, option.span, message).hint(hint))
    };
    for option in options {
        match option.name.as_str() {
            "cache" if !create.storage.is_some_and(Storage::is_disc_only) => {
                let message = "only tables that are kept on disc alone have a cache";
                return alone(option, message, "add storage = 'disc_only'");
            }
            "cache" => {
                create.storage = Some(Storage::DiscOnly { cache_bytes: option.one_of(bytes, SIZES)? });
            }
            "max_idle" if !create.local => {
                return alone(option, "only local tables let idle rows go", "add local = true");
            }
            "evict" if create.evict && !create.local => {
                return alone(
                    option,
                    "only local tables evict; others refuse when they are full",
                    "add local = true",
                );
            }
            "duplicates" if create.duplicates && !(create.local && create.kind == Kind::Bag) => {
                return alone(option, "only local bags keep a row twice", "add local = true, kind = 'bag'");
            }
            _ => {}
        }
    }
    Ok(())
}

fn time(text: &str) -> Option<Duration> {
    length(text).filter(|ms| *ms > 0).map(Duration::from_millis)
}

fn bytes(text: &str) -> Option<u64> {
    size(text).filter(|bytes| *bytes > 0)
}

fn rows(text: &str) -> Option<u64> {
    text.parse().ok().filter(|rows| *rows > 0)
}

fn kind(text: &str) -> Option<Kind> {
    match text {
        "set" => Some(Kind::Set),
        "ordered_set" => Some(Kind::OrderedSet),
        "bag" => Some(Kind::Bag),
        _ => None,
    }
}

fn storage(text: &str) -> Option<Storage> {
    match text {
        "ram" => Some(Storage::Ram),
        "disc" => Some(Storage::Disc),
        "disc_only" => Some(Storage::DISC_ONLY),
        _ => None,
    }
}

fn ack(text: &str) -> Option<Ack> {
    match text {
        "memory" => Some(Ack::Memory),
        "logged" => Some(Ack::Logged),
        "synced" => Some(Ack::Synced),
        _ => None,
    }
}
