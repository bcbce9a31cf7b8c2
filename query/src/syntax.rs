//! The syntax tree of the SQL we execute: what is left of sqlparser's after everything else was refused. Every
//! expression knows its place in the text.

use hypermnesia_store::{Attribute, Type, Value};

use crate::error::Span;
use crate::schema::SchemaChange;

#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    /// Written in double quotes: compared exactly.
    pub(crate) quoted: bool,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum Statement {
    Select(Box<Select>),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Explain(Box<Statement>),
    ShowTables,
    Describe(Name),
    Schema(SchemaChange),
    Alter(Alter),
}

/// ALTER TABLE.
#[derive(Debug)]
pub(crate) struct Alter {
    pub(crate) table: Name,
    /// A missing table is no error.
    pub(crate) if_exists: bool,
    /// In their order; a change of the table's name stands alone.
    pub(crate) operations: Vec<Alteration>,
}

#[derive(Debug)]
pub(crate) enum Alteration {
    RenameTable(Name),
    AddColumn { column: Name, attribute: Attribute, if_not_exists: bool },
    DropColumn { column: Name, if_exists: bool },
    RenameColumn { column: Name, to: Name },
    AlterColumn { column: Name, change: AlterColumn },
}

#[derive(Debug)]
pub(crate) enum AlterColumn {
    /// Without USING by a cast.
    Type {
        ty: Type,
        using: Option<Expr>,
    },
    NotNull,
    Nullable,
    Default(Option<Expr>),
}

#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) span: Span,
    pub(crate) distinct: bool,
    pub(crate) items: Vec<Item>,
    /// Empty for `SELECT 1`.
    pub(crate) from: Vec<Source>,
    pub(crate) filter: Option<Expr>,
    pub(crate) group_by: Vec<Expr>,
    pub(crate) having: Option<Expr>,
    pub(crate) order_by: Vec<Order>,
    pub(crate) limit: Option<Expr>,
    pub(crate) offset: Option<Expr>,
}

#[derive(Debug)]
pub(crate) enum Item {
    Everything(Span),
    AllOf(Name),
    Expr { expr: Expr, alias: Option<Name>, text: String },
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) table: Name,
    pub(crate) alias: Option<Name>,
    pub(crate) join: Join,
}

/// How a source is joined to those before it.
#[derive(Debug)]
pub(crate) enum Join {
    /// The first one, a comma, or CROSS JOIN.
    Cross,
    Inner(On),
    Left(On),
}

#[derive(Debug)]
pub(crate) enum On {
    Condition(Expr),
    Using(Vec<Name>),
}

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct Insert {
    pub(crate) table: Name,
    pub(crate) columns: Vec<Name>,
    pub(crate) source: InsertSource,
    pub(crate) on_conflict: OnConflict,
}

#[derive(Debug)]
pub(crate) enum InsertSource {
    Values(Vec<Vec<Expr>>),
    Select(Box<Select>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnConflict {
    Refuse,
    Nothing,
    /// REPLACE INTO.
    Replace,
}

#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) table: Name,
    pub(crate) alias: Option<Name>,
    pub(crate) set: Vec<(Name, Expr)>,
    pub(crate) filter: Option<Expr>,
}

#[derive(Debug)]
pub(crate) struct Delete {
    pub(crate) table: Name,
    pub(crate) alias: Option<Name>,
    pub(crate) filter: Option<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) span: Span,
    pub(crate) node: Node,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Literal(Value),
    /// From 0.
    Parameter(usize),
    Column {
        table: Option<Name>,
        name: Name,
    },
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// The truth asked for, null for UNKNOWN; `x IS NOT TRUE` is a Not around it.
    IsTruth(Box<Expr>, Option<bool>),
    IsNull(Box<Expr>),
    InList(Box<Expr>, Vec<Expr>),
    Between(Box<Expr>, Box<Expr>, Box<Expr>),
    Like {
        value: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<char>,
        fold: bool,
    },
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Cast(Box<Expr>, Type),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Call {
        name: Name,
        arguments: Vec<Expr>,
        distinct: bool,
        star: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Concat,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    DistinctFrom,
    NotDistinctFrom,
}

impl Binary {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Subtract => "-",
            Binary::Multiply => "*",
            Binary::Divide => "/",
            Binary::Remainder => "%",
            Binary::Concat => "||",
            Binary::Equal => "=",
            Binary::NotEqual => "<>",
            Binary::Less => "<",
            Binary::LessOrEqual => "<=",
            Binary::Greater => ">",
            Binary::GreaterOrEqual => ">=",
            Binary::DistinctFrom => "IS DISTINCT FROM",
            Binary::NotDistinctFrom => "IS NOT DISTINCT FROM",
        }
    }

    pub(crate) fn is_comparison(self) -> bool {
        !matches!(
            self,
            Binary::Add
                | Binary::Subtract
                | Binary::Multiply
                | Binary::Divide
                | Binary::Remainder
                | Binary::Concat
        )
    }

    /// The comparison with its sides exchanged.
    pub(crate) fn mirrored(self) -> Binary {
        match self {
            Binary::Less => Binary::Greater,
            Binary::LessOrEqual => Binary::GreaterOrEqual,
            Binary::Greater => Binary::Less,
            Binary::GreaterOrEqual => Binary::LessOrEqual,
            other => other,
        }
    }
}
