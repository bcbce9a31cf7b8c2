//! A hard stop without a process of its own: dropping a node writes its log to the end and says so in it; the files of one
//! that runs are what a killed process leaves.

use std::fs;
use std::path::Path;

/// The files of a running node, once two looks find the same, in a directory of their own.
pub(crate) fn killed(home: &Path) -> tempfile::TempDir {
    let look = || -> Vec<_> {
        let names =
            fs::read_dir(home).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.filter(|name| name != "LOCK").collect();
        names.sort();
        names.into_iter().filter_map(|name| Some((fs::read(home.join(&name)).ok()?, name))).collect()
    };
    let mut files = look();
    loop {
        let again = look();
        if again == files {
            break;
        }
        files = again;
    }
    let copy = tempfile::tempdir().expect("a directory");
    files.into_iter().for_each(|(bytes, name)| fs::write(copy.path().join(name), bytes).expect("written"));
    copy
}
