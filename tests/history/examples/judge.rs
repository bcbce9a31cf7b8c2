//! Judges files of histories: one line each, with what is wrong behind it; ends with 1 if anything is.
//! `cargo run -p hypermnesia-history --example judge FILE...`

use std::process::ExitCode;

use hypermnesia_history::History;

fn main() -> ExitCode {
    let mut good = true;
    for file in std::env::args().skip(1) {
        let read = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        let history = read.and_then(|text| History::from_lines(&text).map_err(|error| error.to_string()));
        let found = match history {
            Ok(history) => history.anomalies().iter().map(ToString::to_string).collect(),
            Err(why) => vec![why],
        };
        good &= found.is_empty();
        println!("{file}\t{}", found.is_empty());
        found.iter().take(5).for_each(|anomaly| println!("{anomaly}"));
    }
    ExitCode::from(u8::from(!good))
}
