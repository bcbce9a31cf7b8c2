//! Where a subscription stands, as something to be kept elsewhere and brought back.

use std::fmt;
use std::str::FromStr;

use hypermnesia_store::{Incarnation, NodeId, Place, TableId, Timestamp};

/// Where a [`Subscription`](super::Subscription) stands: behind which change of which table, as told by which process. Going on from
/// it with [`Table::subscribe_from`](crate::Table::subscribe_from) gives what came behind it, each change once. As text it is some
/// numbers with points between them.
///
/// ```
/// # use hypermnesia::{EventDetail, EventPosition, Heard, Node, TableDef, Type, Value};
/// let node = Node::builder().build()?;
/// let notes = node.create_table(TableDef::builder("notes").attribute("id", Type::Int))?;
/// let first = notes.subscribe(EventDetail::Simple)?;
/// notes.insert(&[Value::Int(1)])?;
/// assert!(matches!(first.try_next(), Some(Heard::Event(event)) if event.sequence == 1));
/// let kept = first.pause().to_string();
///
/// notes.insert(&[Value::Int(2)])?;
/// let position: EventPosition = kept.parse().expect("as it was written");
/// let second = notes.subscribe_from(position, EventDetail::Simple)?;
/// assert!(matches!(second.try_next(), Some(Heard::Event(event)) if event.sequence == 2));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPosition {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) table: TableId,
    pub(crate) place: Place,
}

impl EventPosition {
    /// The number of the change that it stands behind: [`TableEvent::sequence`](crate::TableEvent::sequence).
    pub fn sequence(&self) -> u64 {
        self.place.after
    }

    /// The position of the same subscription behind another change.
    #[must_use]
    pub fn at(self, sequence: u64) -> EventPosition {
        EventPosition { place: Place { after: sequence, ..self.place }, ..self }
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { stream, after, behind } = self.place;
        let (node, incarnation, table) = (self.node.0, self.incarnation.0, self.table.0);
        write!(f, "{node}.{incarnation}.{table}.{stream}.{}.{after}", behind.0)
    }
}

/// A text is no [`EventPosition`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no position in a table's events: those are six numbers with points between them, as a subscription told it"
)]
pub struct NotAPosition(String);

impl FromStr for EventPosition {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<EventPosition, NotAPosition> {
        parse(text).ok_or_else(|| NotAPosition(text.chars().take(100).collect()))
    }
}

fn parse(text: &str) -> Option<EventPosition> {
    let mut parts = text.split('.');
    let position = EventPosition {
        node: NodeId(number(parts.next())?),
        incarnation: Incarnation(number(parts.next())?),
        table: TableId(number(parts.next())?),
        place: Place {
            stream: number(parts.next())?,
            behind: Timestamp(number(parts.next())?),
            after: number(parts.next())?,
        },
    };
    parts.next().is_none().then_some(position)
}

/// Digits alone, so that a position has one text.
fn number<T: FromStr>(part: Option<&str>) -> Option<T> {
    part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_its_text() {
        // Aim: what is kept elsewhere comes back as it was, and nothing else is taken for one. Method: extremes, and texts that
        // are nearly right.
        let place = Place { stream: u32::MAX, after: u64::MAX, behind: Timestamp::MAX };
        let position =
            EventPosition { node: NodeId(7), incarnation: Incarnation(u64::MAX), table: TableId(9), place };
        assert_eq!(position.to_string().parse(), Ok(position));
        for wrong in [
            "",
            "1.2.3.4.5",
            "1.2.3.4.5.6.7",
            "1.2.3.4.5.",
            "1.2.3.4.5.-6",
            "1.2.3.4.5.+6",
            "1.2.3.99999999999.5.6",
            "a.b.c.d.e.f",
        ] {
            assert!(wrong.parse::<EventPosition>().is_err(), "{wrong:?}");
        }
    }
}
