//! Conditions over the attributes of one table, built by a program instead of written as text. They mean what the same
//! condition means behind WHERE: truth has three values, and what is unknown (a comparison with null) is not found, negated
//! or not. Names are matched exactly.

use hypermnesia_store::{TableDef, Type, Value};

use crate::bind::{Binder, BoundTable};
use crate::error::{ErrorKind, Fault, QueryError, Span};
use crate::eval;
use crate::expression::{Expr, Place};
use crate::limits::{EXPRESSION_DEPTH_MAX, FILTER_TESTS_MAX};
use crate::parse;
use crate::suggest::with_suggestion;
use crate::syntax::{self, Binary, Name, Node};

/// Which rows are meant.
///
/// ```
/// use hypermnesia_query::Filter;
/// let adults = Filter::at_least("age", 18).and(Filter::one_of("country", ["BE", "NL"]));
/// let unnamed = Filter::is_null("name").or(Filter::prefix("name", "anon"));
/// let meant = "(age >= 18 AND country IN ('BE', 'NL') AND NOT (name IS NULL OR name begins with 'anon'))";
/// assert_eq!(adults.and(unnamed.not()).to_string(), meant);
/// let written = Filter::sql("price * stock > ? AND lower(name) = 'ada'", [1_000]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Test);

#[derive(Clone, Debug, PartialEq)]
enum Test {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare(String, Binary, Value),
    Between(String, Value, Value),
    OneOf(String, Vec<Value>),
    Prefix(String, String),
    IsNull(String),
    Contains(String, Value),
    Text(String, Vec<Value>),
}

impl Filter {
    /// Every row.
    pub fn everything() -> Filter {
        Filter(Test::All(Vec::new()))
    }

    /// The attribute equals the value; with null as value, the attribute is null. Numbers are equal by what they are worth.
    pub fn equal(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        match value.into() {
            Value::Null => Filter::is_null(attribute),
            value => Filter::compare(attribute, Binary::Equal, value),
        }
    }

    /// The attribute is there and differs from the value; with null as value, the attribute is not null.
    pub fn not_equal(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        match value.into() {
            Value::Null => Filter::is_null(attribute).not(),
            value => Filter::compare(attribute, Binary::NotEqual, value),
        }
    }

    /// The attribute is less than the value.
    pub fn less(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter::compare(attribute, Binary::Less, value.into())
    }

    /// The attribute is less than the value or equal to it.
    pub fn at_most(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter::compare(attribute, Binary::LessOrEqual, value.into())
    }

    /// The attribute is greater than the value.
    pub fn greater(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter::compare(attribute, Binary::Greater, value.into())
    }

    /// The attribute is greater than the value or equal to it.
    pub fn at_least(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter::compare(attribute, Binary::GreaterOrEqual, value.into())
    }

    /// The attribute lies between the values, both included.
    pub fn between(attribute: impl Into<String>, low: impl Into<Value>, high: impl Into<Value>) -> Filter {
        Filter(Test::Between(attribute.into(), low.into(), high.into()))
    }

    /// The attribute equals one of the values; null among them stands for an attribute that is null.
    pub fn one_of<V: Into<Value>>(
        attribute: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Filter {
        let attribute = attribute.into();
        let (nulls, values): (Vec<Value>, Vec<Value>) =
            values.into_iter().map(V::into).partition(|value| *value == Value::Null);
        let listed = Filter(Test::OneOf(attribute.clone(), values));
        if nulls.is_empty() { listed } else { Filter::is_null(attribute).or(listed) }
    }

    /// The attribute is a text that begins with this one.
    pub fn prefix(attribute: impl Into<String>, text: impl Into<String>) -> Filter {
        Filter(Test::Prefix(attribute.into(), text.into()))
    }

    /// The attribute is null.
    pub fn is_null(attribute: impl Into<String>) -> Filter {
        Filter(Test::IsNull(attribute.into()))
    }

    /// The attribute is a list with this value in it. What is no list counts as a list of itself; an index over the values
    /// of the list finds the rows.
    pub fn contains(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::Contains(attribute.into(), value.into()))
    }

    /// A condition as it stands behind WHERE, with values for its parameters: for comparisons of attributes with each other,
    /// arithmetic and functions. It is read when it is used.
    pub fn sql<V: Into<Value>>(
        condition: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Filter {
        Filter(Test::Text(condition.into(), parameters.into_iter().map(V::into).collect()))
    }

    /// All of these hold; of none, every row.
    pub fn all(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter(Test::All(filters.into_iter().collect()))
    }

    /// One of these holds; of none, no row.
    pub fn any(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter(Test::Any(filters.into_iter().collect()))
    }

    /// This and the other one hold.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        match self.0 {
            Test::All(mut all) => {
                all.push(other);
                Filter(Test::All(all))
            }
            first => Filter(Test::All(vec![Filter(first), other])),
        }
    }

    /// This or the other one holds.
    #[must_use]
    pub fn or(self, other: Filter) -> Filter {
        match self.0 {
            Test::Any(mut any) => {
                any.push(other);
                Filter(Test::Any(any))
            }
            first => Filter(Test::Any(vec![Filter(first), other])),
        }
    }

    /// This does not hold. What is unknown stays unknown, and is not found.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "it stands beside and, or; `!` works too")]
    pub fn not(self) -> Filter {
        Filter(Test::Not(Box::new(self)))
    }

    fn compare(attribute: impl Into<String>, op: Binary, value: Value) -> Filter {
        Filter(Test::Compare(attribute.into(), op, value))
    }

    /// With positions for names, checked against the table.
    pub(crate) fn bind(&self, table: &BoundTable) -> Result<Expr, QueryError> {
        let mut tests = 0;
        self.count(0, &mut tests)?;
        let tables = std::slice::from_ref(table);
        self.bound(tables)
    }

    /// The text that places in it are places of; empty where there is none, or several.
    pub(crate) fn text(&self) -> &str {
        fn texts<'f>(filter: &'f Filter, found: &mut Vec<&'f str>) {
            match &filter.0 {
                Test::Text(text, _) => found.push(text),
                Test::All(parts) | Test::Any(parts) => parts.iter().for_each(|part| texts(part, found)),
                Test::Not(part) => texts(part, found),
                _ => {}
            }
        }
        let mut found = Vec::new();
        texts(self, &mut found);
        if let [only] = found.as_slice() { only } else { "" }
    }

    /// How many tests it is made of, so that neither they nor their nesting grow without bound.
    fn count(&self, depth: usize, tests: &mut usize) -> Result<(), QueryError> {
        *tests += if let Test::OneOf(_, values) = &self.0 { values.len().max(1) } else { 1 };
        if depth > EXPRESSION_DEPTH_MAX || *tests > FILTER_TESTS_MAX {
            let message = format!(
                "a filter has at most {FILTER_TESTS_MAX} tests and values, nested {EXPRESSION_DEPTH_MAX} deep"
            );
            return Err(Fault::new(ErrorKind::Limit, Span::NONE, message).in_text(""));
        }
        match &self.0 {
            Test::All(parts) | Test::Any(parts) => {
                parts.iter().try_for_each(|part| part.count(depth + 1, tests))
            }
            Test::Not(part) => part.count(depth + 1, tests),
            _ => Ok(()),
        }
    }

    fn bound(&self, tables: &[BoundTable]) -> Result<Expr, QueryError> {
        let place = Place(Span::NONE);
        let each =
            |parts: &[Filter]| parts.iter().map(|part| part.bound(tables)).collect::<Result<Vec<_>, _>>();
        let bound = match &self.0 {
            Test::All(parts) => Expr::And(each(parts)?, place),
            Test::Any(parts) => Expr::Or(each(parts)?, place),
            Test::Not(part) => Expr::Not(Box::new(part.bound(tables)?), place),
            Test::Text(text, parameters) => return condition(tables, text, parameters),
            test => {
                if let Some(attribute) = test.attribute() {
                    position(&tables[0].def, attribute).map_err(|fault| fault.in_text(""))?;
                }
                let node = one_test(test, &tables[0].def);
                return binder(tables, &[]).condition(&node).map_err(|fault| fault.in_text(""));
            }
        };
        Ok(eval::fold(bound))
    }
}

impl std::ops::Not for Filter {
    type Output = Filter;

    fn not(self) -> Filter {
        Filter::not(self)
    }
}

impl Test {
    /// The attribute that it looks at.
    fn attribute(&self) -> Option<&str> {
        match self {
            Test::All(_) | Test::Any(_) | Test::Not(_) | Test::Text(..) => None,
            Test::Compare(attribute, ..)
            | Test::Between(attribute, ..)
            | Test::OneOf(attribute, _)
            | Test::Prefix(attribute, _)
            | Test::IsNull(attribute)
            | Test::Contains(attribute, _) => Some(attribute),
        }
    }
}

/// Most attributes that are listed where none was meant.
const LISTED: usize = 8;

/// The position of an attribute, or what there is instead.
pub(crate) fn position(def: &TableDef, attribute: &str) -> Result<usize, Fault> {
    def.position(attribute).ok_or_else(|| {
        let names = || def.attributes.iter().map(|known| known.name.as_str());
        let message = format!("table {:?} has no attribute {attribute:?}", def.name);
        let fault = with_suggestion(Fault::new(ErrorKind::Name, Span::NONE, message), attribute, names());
        if fault.hint.is_some() {
            return fault;
        }
        let listed: Vec<&str> = names().take(LISTED).collect();
        let more = if def.attributes.len() > LISTED { ", .." } else { "" };
        fault.hint(format!("it has {}{more}", listed.join(", ")))
    })
}

fn binder<'a>(tables: &'a [BoundTable], parameters: &'a [Value]) -> Binder<'a> {
    Binder { tables, parameters, describe: false, aggregates: None, clause: "a filter" }
}

fn condition(tables: &[BoundTable], text: &str, parameters: &[Value]) -> Result<Expr, QueryError> {
    let (read, wanted) = parse::condition(text)?;
    if wanted != parameters.len() {
        let message = format!("parameters of the condition: {wanted}, given: {}", parameters.len());
        return Err(Fault::new(ErrorKind::Parameters, Span::NONE, message).in_text(text));
    }
    binder(tables, parameters).condition(&read).map_err(|fault| fault.in_text(text))
}

fn expr(node: Node) -> syntax::Expr {
    syntax::Expr { span: Span::NONE, node }
}

fn literal(value: &Value) -> syntax::Expr {
    expr(Node::Literal(value.clone()))
}

fn column(attribute: &str) -> Box<syntax::Expr> {
    let name = Name { text: attribute.to_owned(), quoted: true, span: Span::NONE };
    Box::new(expr(Node::Column { table: None, name }))
}

fn call(function: &str, arguments: Vec<syntax::Expr>) -> syntax::Expr {
    let name = Name { text: function.to_owned(), quoted: false, span: Span::NONE };
    expr(Node::Call { name, arguments, distinct: false, star: false })
}

/// A test of one attribute as it would have been read from text.
fn one_test(test: &Test, def: &TableDef) -> syntax::Expr {
    expr(match test {
        Test::Compare(attribute, op, value) => Node::Binary(*op, column(attribute), Box::new(literal(value))),
        Test::Between(attribute, low, high) => {
            Node::Between(column(attribute), Box::new(literal(low)), Box::new(literal(high)))
        }
        Test::OneOf(attribute, values) => {
            Node::InList(column(attribute), values.iter().map(literal).collect())
        }
        Test::IsNull(attribute) => Node::IsNull(column(attribute)),
        Test::Contains(attribute, value) => {
            return call("contains", vec![*column(attribute), literal(value)]);
        }
        Test::Prefix(attribute, text) => return begins_with(attribute, text, def),
        Test::All(_) | Test::Any(_) | Test::Not(_) | Test::Text(..) => Node::Literal(Value::Bool(true)),
    })
}

/// LIKE, which knows ranges of keys; of an attribute that may hold anything, only where it holds a text.
fn begins_with(attribute: &str, text: &str, def: &TableDef) -> syntax::Expr {
    let mut pattern = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    let pattern = Box::new(literal(&Value::Text(pattern)));
    let like = expr(Node::Like { value: column(attribute), pattern, escape: None, fold: false });
    let may_be_other = def.position(attribute).is_some_and(|at| def.attributes[at].ty == Type::Any);
    if !may_be_other {
        return like;
    }
    let kind = Box::new(call("typeof", vec![*column(attribute)]));
    let is_text = expr(Node::Binary(Binary::Equal, kind, Box::new(literal(&Value::from("text")))));
    expr(Node::And(vec![is_text, like]))
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let joined = |f: &mut std::fmt::Formatter<'_>, parts: &[Filter], word: &str| {
            f.write_str("(")?;
            for (n, part) in parts.iter().enumerate() {
                write!(f, "{}{part}", if n == 0 { "" } else { word })?;
            }
            f.write_str(")")
        };
        match &self.0 {
            Test::All(parts) if parts.is_empty() => f.write_str("everything"),
            Test::Any(parts) if parts.is_empty() => f.write_str("nothing"),
            Test::All(parts) => joined(f, parts, " AND "),
            Test::Any(parts) => joined(f, parts, " OR "),
            Test::Not(part) => write!(f, "NOT {part}"),
            Test::Compare(attribute, op, value) => write!(f, "{attribute} {} {value}", op.sign()),
            Test::Between(attribute, low, high) => write!(f, "{attribute} BETWEEN {low} AND {high}"),
            Test::OneOf(attribute, values) => {
                write!(f, "{attribute} IN (")?;
                for (n, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Test::Prefix(attribute, text) => {
                write!(f, "{attribute} begins with {}", Value::from(text.as_str()))
            }
            Test::IsNull(attribute) => write!(f, "{attribute} IS NULL"),
            Test::Contains(attribute, value) => write!(f, "{attribute} contains {value}"),
            Test::Text(text, _) => write!(f, "({text})"),
        }
    }
}
