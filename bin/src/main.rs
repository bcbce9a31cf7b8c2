//! hmn
fn main() {}
