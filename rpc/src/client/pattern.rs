//! Rows by what they hold, from the client's side: filters and patterns as messages, and the calls that take them.

use super::{Interactive, Row, ScanRows, Table, Values, values};
use crate::proto::{self, Place, filter::Test, interact_request::Step};
use crate::{Error, Value};

/// A condition over the attributes of a row. It means what the same condition means in SQL behind WHERE: a comparison with
/// null is unknown, and what is unknown is not found, negated or not.
///
/// ```
/// use hypermnesia_rpc::client::Filter;
/// let adults = Filter::at_least("age", 18).and(Filter::one_of("country", ["BE", "NL"]));
/// let unnamed = Filter::is_null("name").or(Filter::prefix("name", "anon"));
/// let both = adults.and(!unnamed).and(Filter::sql("age * 2 < ?", [100]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Test);

impl Filter {
    /// Every row.
    pub fn everything() -> Filter {
        Filter::all([])
    }

    /// The attribute equals the value; with null as value, it is null.
    pub fn equal(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::Equal(compared(attribute.into(), value.into())))
    }

    /// The attribute differs from the value; with null as value, it is not null.
    pub fn not_equal(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::NotEqual(compared(attribute.into(), value.into())))
    }

    /// The attribute is less than the value.
    pub fn less(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::Less(compared(attribute.into(), value.into())))
    }

    /// The attribute is less than the value or equal to it.
    pub fn at_most(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::AtMost(compared(attribute.into(), value.into())))
    }

    /// The attribute is greater than the value.
    pub fn greater(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::Greater(compared(attribute.into(), value.into())))
    }

    /// The attribute is greater than the value or equal to it.
    pub fn at_least(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::AtLeast(compared(attribute.into(), value.into())))
    }

    /// The attribute lies between the values, both included.
    pub fn between(attribute: impl Into<String>, low: impl Into<Value>, high: impl Into<Value>) -> Filter {
        let (low, high) = (Some(low.into().into()), Some(high.into().into()));
        Filter(Test::Between(proto::BetweenTest { attribute: attribute.into(), low, high }))
    }

    /// The attribute equals one of the values; null among them stands for an attribute that is null.
    pub fn one_of<V: Into<Value>>(
        attribute: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Filter {
        let values = crate::value::into_messages(values.into_iter().map(Into::into).collect());
        Filter(Test::OneOf(proto::OneOfTest { attribute: attribute.into(), values }))
    }

    /// The attribute is a text that begins with this one.
    pub fn prefix(attribute: impl Into<String>, text: impl Into<String>) -> Filter {
        Filter(Test::Prefix(proto::PrefixTest { attribute: attribute.into(), text: text.into() }))
    }

    /// The attribute is null.
    pub fn is_null(attribute: impl Into<String>) -> Filter {
        Filter(Test::IsNull(attribute.into()))
    }

    /// The attribute is a list with this value in it.
    pub fn contains(attribute: impl Into<String>, value: impl Into<Value>) -> Filter {
        Filter(Test::Contains(compared(attribute.into(), value.into())))
    }

    /// A condition as it stands behind WHERE, with the values of its parameters.
    pub fn sql(condition: impl Into<String>, parameters: impl Into<Values>) -> Filter {
        let parameters = crate::value::into_messages(parameters.into().0);
        Filter(Test::Sql(proto::SqlCondition { condition: condition.into(), parameters }))
    }

    /// All of these hold; of none, every row.
    pub fn all(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter(Test::All(proto::Filters { filters: filters.into_iter().map(Filter::into_message).collect() }))
    }

    /// One of these holds; of none, no row.
    pub fn any(filters: impl IntoIterator<Item = Filter>) -> Filter {
        Filter(Test::Any(proto::Filters { filters: filters.into_iter().map(Filter::into_message).collect() }))
    }

    /// This and the other one hold.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        match self.0 {
            Test::All(mut all) => {
                all.filters.push(other.into_message());
                Filter(Test::All(all))
            }
            first => Filter::all([Filter(first), other]),
        }
    }

    /// This or the other one holds.
    #[must_use]
    pub fn or(self, other: Filter) -> Filter {
        match self.0 {
            Test::Any(mut any) => {
                any.filters.push(other.into_message());
                Filter(Test::Any(any))
            }
            first => Filter::any([Filter(first), other]),
        }
    }

    fn into_message(self) -> proto::Filter {
        proto::Filter { test: Some(self.0) }
    }
}

/// It does not hold. What is unknown stays unknown, and is not found.
impl std::ops::Not for Filter {
    type Output = Filter;

    fn not(self) -> Filter {
        Filter(Test::Not(Box::new(self.into_message())))
    }
}

fn compared(attribute: String, value: Value) -> proto::AttributeValue {
    proto::AttributeValue { attribute, value: Some(value.into()) }
}

/// A filter with the path to take, the direction and a limit. Every filter is a pattern too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pattern(proto::Pattern);

impl From<Filter> for Pattern {
    fn from(filter: Filter) -> Pattern {
        Pattern::of(filter)
    }
}

impl Pattern {
    /// The rows of a filter, by the path of least cost.
    pub fn of(filter: Filter) -> Pattern {
        Pattern(proto::Pattern { filter: Some(filter.into_message()), ..proto::Pattern::default() })
    }

    /// In the order of keys, which only an ordered set has.
    #[must_use]
    pub fn in_key_order(mut self) -> Pattern {
        self.0.along = proto::Along::Key.into();
        self
    }

    /// Along this index, in its order.
    #[must_use]
    pub fn along_index(mut self, index: impl Into<String>) -> Pattern {
        (self.0.along, self.0.index) = (proto::Along::Index.into(), index.into());
        self
    }

    /// From the greatest to the smallest, where there is an order.
    #[must_use]
    pub fn backward(mut self) -> Pattern {
        self.0.direction = proto::Direction::Descending.into();
        self
    }

    /// At most so many rows; 0 means all.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Pattern {
        self.0.limit = rows;
        self
    }

    fn of_table(self, table: &str) -> Option<proto::Pattern> {
        Some(proto::Pattern { table: table.to_owned(), ..self.0 })
    }
}

fn assignments<'c>(changes: impl IntoIterator<Item = (&'c str, Value)>) -> Vec<proto::Assignment> {
    let one = |(attribute, value): (&str, Value)| proto::Assignment {
        attribute: attribute.to_owned(),
        value: Some(value.into()),
    };
    changes.into_iter().map(one).collect()
}

/// Rows by a pattern; ends and neighbours of an ordered set.
impl Table {
    /// Streams the rows of a pattern, all read at one instant.
    pub async fn matching(&self, pattern: impl Into<Pattern>) -> Result<ScanRows, Error> {
        self.project(pattern, &[]).await
    }

    /// Streams some attributes of the rows of a pattern, in this order; of none, whole rows.
    pub async fn project(&self, pattern: impl Into<Pattern>, attributes: &[&str]) -> Result<ScanRows, Error> {
        let attributes = attributes.iter().map(|name| (*name).to_owned()).collect();
        let request = proto::SelectRequest { pattern: pattern.into().of_table(&self.name), attributes };
        Ok(ScanRows::new(self.patterns.clone().select(request).await?.into_inner()))
    }

    /// How many rows a pattern has.
    pub async fn count_matching(&self, pattern: impl Into<Pattern>) -> Result<u64, Error> {
        let request = proto::MatchRequest { pattern: pattern.into().of_table(&self.name) };
        Ok(self.patterns.clone().count(request).await?.into_inner().rows)
    }

    /// Deletes the rows of a pattern in one transaction and says how many there were. Fails with
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) for more than one may write, and then none is deleted.
    pub async fn delete_matching(&self, pattern: impl Into<Pattern>) -> Result<u64, Error> {
        self.delete_matching_in_chunks(pattern, 0).await
    }

    /// As [`Table::delete_matching`], in transactions of so many rows each: all of them together are not atomic.
    pub async fn delete_matching_in_chunks(
        &self,
        pattern: impl Into<Pattern>,
        chunk_rows: u32,
    ) -> Result<u64, Error> {
        let pattern = pattern.into().of_table(&self.name);
        let request = proto::DeleteMatchingRequest { pattern, chunk_rows };
        Ok(self.patterns.clone().delete_matching(request).await?.into_inner().rows)
    }

    /// Gives attributes of the rows of a pattern new values, in one transaction, and says how many rows that were.
    pub async fn update_matching<'c>(
        &self,
        pattern: impl Into<Pattern>,
        changes: impl IntoIterator<Item = (&'c str, Value)>,
    ) -> Result<u64, Error> {
        self.update_matching_in_chunks(pattern, changes, 0).await
    }

    /// As [`Table::update_matching`], in transactions of so many rows each: all of them together are not atomic.
    pub async fn update_matching_in_chunks<'c>(
        &self,
        pattern: impl Into<Pattern>,
        changes: impl IntoIterator<Item = (&'c str, Value)>,
        chunk_rows: u32,
    ) -> Result<u64, Error> {
        let (pattern, changes) = (pattern.into().of_table(&self.name), assignments(changes));
        let request = proto::UpdateMatchingRequest { pattern, changes, chunk_rows };
        Ok(self.patterns.clone().update_matching(request).await?.into_inner().rows)
    }

    /// The path that a pattern takes now, in words.
    pub async fn explain(&self, pattern: impl Into<Pattern>) -> Result<String, Error> {
        let request = proto::MatchRequest { pattern: pattern.into().of_table(&self.name) };
        Ok(self.patterns.clone().explain(request).await?.into_inner().path)
    }

    /// The row of the smallest key of an ordered set.
    pub async fn first(&self) -> Result<Option<Row>, Error> {
        self.neighbour(Place::First, None).await
    }

    /// The row of the greatest key of an ordered set.
    pub async fn last(&self) -> Result<Option<Row>, Error> {
        self.neighbour(Place::Last, None).await
    }

    /// The row behind a key, which need not be there.
    pub async fn next(&self, key: impl Into<Values>) -> Result<Option<Row>, Error> {
        self.neighbour(Place::Next, Some(key.into())).await
    }

    /// The row before a key, which need not be there.
    pub async fn prev(&self, key: impl Into<Values>) -> Result<Option<Row>, Error> {
        self.neighbour(Place::Previous, Some(key.into())).await
    }

    async fn neighbour(&self, place: Place, key: Option<Values>) -> Result<Option<Row>, Error> {
        let request = beside(self.name.clone(), place, key);
        let found = self.patterns.clone().neighbour(request).await?.into_inner();
        Ok(values::rows(found.rows)?.into_iter().next())
    }
}

fn beside(table: String, place: Place, key: Option<Values>) -> proto::NeighbourRequest {
    proto::NeighbourRequest { table, place: place.into(), key: key.map(Into::into) }
}

/// Rows by a pattern, own writes included.
impl Interactive {
    /// The rows of a pattern, or some of their attributes, in this order.
    pub async fn project(
        &mut self,
        table: impl Into<String>,
        pattern: impl Into<Pattern>,
        attributes: &[&str],
    ) -> Result<Vec<Row>, Error> {
        let pattern = pattern.into().of_table(&table.into());
        let attributes = attributes.iter().map(|name| (*name).to_owned()).collect();
        self.rows_in_parts(Step::Select(proto::SelectRequest { pattern, attributes })).await
    }

    /// The rows of a pattern.
    pub async fn matching(
        &mut self,
        table: impl Into<String>,
        pattern: impl Into<Pattern>,
    ) -> Result<Vec<Row>, Error> {
        self.project(table, pattern, &[]).await
    }

    /// How many rows a pattern has.
    pub async fn count_matching(
        &mut self,
        table: impl Into<String>,
        pattern: impl Into<Pattern>,
    ) -> Result<u64, Error> {
        let pattern = pattern.into().of_table(&table.into());
        self.matched(Step::CountMatching(proto::MatchRequest { pattern })).await
    }

    /// Deletes the rows of a pattern when it commits; says how many there are.
    pub async fn delete_matching(
        &mut self,
        table: impl Into<String>,
        pattern: impl Into<Pattern>,
    ) -> Result<u64, Error> {
        let pattern = pattern.into().of_table(&table.into());
        self.matched(Step::DeleteMatching(proto::DeleteMatchingRequest { pattern, chunk_rows: 0 })).await
    }

    /// Changes the rows of a pattern when it commits; says how many there are.
    pub async fn update_matching<'c>(
        &mut self,
        table: impl Into<String>,
        pattern: impl Into<Pattern>,
        changes: impl IntoIterator<Item = (&'c str, Value)>,
    ) -> Result<u64, Error> {
        let (pattern, changes) = (pattern.into().of_table(&table.into()), assignments(changes));
        let request = proto::UpdateMatchingRequest { pattern, changes, chunk_rows: 0 };
        self.matched(Step::UpdateMatching(request)).await
    }

    /// The row of the smallest key of an ordered set.
    pub async fn first(&mut self, table: impl Into<String>) -> Result<Option<Row>, Error> {
        self.neighbour(beside(table.into(), Place::First, None)).await
    }

    /// The row of the greatest key of an ordered set.
    pub async fn last(&mut self, table: impl Into<String>) -> Result<Option<Row>, Error> {
        self.neighbour(beside(table.into(), Place::Last, None)).await
    }

    /// The row behind a key, which need not be there.
    pub async fn next(
        &mut self,
        table: impl Into<String>,
        key: impl Into<Values>,
    ) -> Result<Option<Row>, Error> {
        self.neighbour(beside(table.into(), Place::Next, Some(key.into()))).await
    }

    /// The row before a key, which need not be there.
    pub async fn prev(
        &mut self,
        table: impl Into<String>,
        key: impl Into<Values>,
    ) -> Result<Option<Row>, Error> {
        self.neighbour(beside(table.into(), Place::Previous, Some(key.into()))).await
    }

    async fn neighbour(&mut self, request: proto::NeighbourRequest) -> Result<Option<Row>, Error> {
        Ok(self.read(Step::Neighbour(request)).await?.into_iter().next())
    }
}
