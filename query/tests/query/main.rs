//! Tests of the query room over tables held in plain maps.

mod cases;
mod differential;
mod hostile;
mod limits;
mod memory;
mod reach;
