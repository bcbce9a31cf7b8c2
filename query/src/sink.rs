//! Where the rows of a result go, one at a time.

use std::ops::ControlFlow;

use hypermnesia_store::{Type, Value};

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its alias, or the attribute's name, or the text of the expression.
    pub name: String,
    /// What its values are, as far as it is known before the rows are; [`Type::Any`] where it is not. Null is possible
    /// in every column.
    pub ty: Type,
}

/// Takes the rows of a result.
pub trait Sink {
    /// Called once, before the first row, also when there is none.
    fn columns(&mut self, columns: &[Column]);

    /// Takes one row; `Break` ends the execution early, without an error.
    fn row(&mut self, values: Vec<Value>) -> ControlFlow<()>;

    /// Forgets what it was given, to be given it anew; false where that cannot be.
    fn begin_again(&mut self) -> bool {
        false
    }
}

/// Passes rows on, and the columns with the first of them: who has given no row yet can still begin anew.
pub struct Late<'s> {
    sink: &'s mut dyn Sink,
    columns: Option<Vec<Column>>,
    given: bool,
}

impl Late<'_> {
    /// Before another sink.
    pub fn new(sink: &mut dyn Sink) -> Late<'_> {
        Late { sink, columns: None, given: false }
    }

    /// Whether it can be given all anew: no row was passed on, or all were taken back.
    pub fn begin_anew(&mut self) -> bool {
        if self.given && self.sink.begin_again() {
            self.given = false;
        }
        !self.given
    }

    /// All rows have come: the columns, where there was none.
    pub fn finish(mut self) {
        self.head();
    }

    fn head(&mut self) {
        if let Some(columns) = self.columns.take() {
            self.sink.columns(&columns);
        }
    }
}

impl Sink for Late<'_> {
    fn columns(&mut self, columns: &[Column]) {
        self.columns = Some(columns.to_vec());
    }

    fn row(&mut self, values: Vec<Value>) -> ControlFlow<()> {
        self.given = true;
        self.head();
        self.sink.row(values)
    }
}

/// A result held whole: for tests, small results and single values. It grows with the result, so use a sink of your own
/// where the result may be large.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows in order.
    pub rows: Vec<Vec<Value>>,
}

impl Sink for Rows {
    fn columns(&mut self, columns: &[Column]) {
        self.columns = columns.to_vec();
    }

    fn row(&mut self, values: Vec<Value>) -> ControlFlow<()> {
        self.rows.push(values);
        ControlFlow::Continue(())
    }

    fn begin_again(&mut self) -> bool {
        *self = Rows::default();
        true
    }
}
