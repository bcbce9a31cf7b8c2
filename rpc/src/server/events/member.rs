//! What happens to the member, as messages.

use std::sync::Arc;

use hypermnesia::{ClusterEvent, NodeId, Outcome, SystemEvent, SystemEvents, TableId};
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::door::Door;
use super::super::{convert, told};
use super::stopping;
use crate::errors::Error;
use crate::limits::{IDLE_MAX, STREAM_BATCHES_QUEUED};
use crate::proto::{MemberEvent, WatchMemberResponse};

impl Door {
    pub(super) fn watch_member(
        self: &Arc<Door>,
    ) -> Result<impl Stream<Item = Result<WatchMemberResponse, Status>> + Send + use<>, Error> {
        let place = self.places.watch()?;
        let events = self.node.system_events();
        let (reader, messages) = channel(STREAM_BATCHES_QUEUED);
        let (door, stopped) = (Arc::clone(self), self.stopped());
        tokio::spawn(async move {
            tokio::select! {
                () = door.tell(&events, &reader) => (),
                () = reader.closed() => (),
                () = told(stopped) => (),
            }
            // A reader that is gone needs no error.
            drop(timeout(IDLE_MAX, reader.send(Err(stopping().into()))).await);
            drop(place);
        });
        Ok(ReceiverStream::new(messages))
    }

    async fn tell(&self, events: &SystemEvents, reader: &Sender<Result<WatchMemberResponse, Status>>) {
        loop {
            let event = events.next().await;
            if event == SystemEvent::Ended || reader.send(Ok(self.member_event(event))).await.is_err() {
                return;
            }
        }
    }

    fn member_event(&self, event: SystemEvent) -> WatchMemberResponse {
        let said = |event: MemberEvent, text: String| WatchMemberResponse {
            event: event.into(),
            text,
            ..WatchMemberResponse::default()
        };
        let about = |node: NodeId, event: MemberEvent, text: &str| {
            let member = self.name_of(node);
            WatchMemberResponse { text: format!("{member} {text}"), member, ..said(event, String::new()) }
        };
        match event {
            SystemEvent::Cluster(event) => self.cluster_event(event),
            SystemEvent::MemberUp(node) => about(node, MemberEvent::MemberUp, "is connected"),
            SystemEvent::MemberDown(node) => {
                about(node, MemberEvent::MemberDown, "is not connected any more")
            }
            SystemEvent::Settled { txid, outcome } => {
                let what = match outcome {
                    Outcome::Committed(at) => format!("was committed at {at}"),
                    Outcome::Aborted => "was aborted".to_owned(),
                    _ => "cannot be told any more".to_owned(),
                };
                let transaction = Some(convert::transaction_message(txid));
                let text = format!("transaction {txid}, whose outcome was unknown, {what}");
                WatchMemberResponse { transaction, ..said(MemberEvent::Settled, text) }
            }
            SystemEvent::Missed(count) => {
                said(MemberEvent::Missed, format!("{count} events were not read in time and are lost"))
            }
            SystemEvent::Ended => said(MemberEvent::Unspecified, "nothing comes any more".to_owned()),
        }
    }

    fn cluster_event(&self, event: ClusterEvent) -> WatchMemberResponse {
        let about = |table: TableId, event: MemberEvent, text: &str| {
            let table = self.table_name(table);
            let text = format!("table {table:?} {text}");
            WatchMemberResponse { event: event.into(), text, table, ..WatchMemberResponse::default() }
        };
        match event {
            ClusterEvent::EpochOpened { number, joiners, settled: (committed, aborted) } => {
                let joiners: Vec<_> = joiners.into_iter().map(|node| self.name_of(node)).collect();
                let new =
                    if joiners.is_empty() { "nobody new".to_owned() } else { joiners.join(", ") + " new" };
                let text = format!(
                    "epoch {number} opened, {new}; in doubt were {committed} transactions that are committed now and \
                     {aborted} that are aborted"
                );
                let event = MemberEvent::EpochOpened.into();
                WatchMemberResponse { event, text, epoch: number, ..WatchMemberResponse::default() }
            }
            ClusterEvent::Loading { table, source } => {
                let member = self.name_of(source);
                let text = format!("is being copied from {member}");
                WatchMemberResponse { member, ..about(table, MemberEvent::Loading, &text) }
            }
            ClusterEvent::Loaded { table, rows, commits } => {
                let text =
                    format!("is complete, {rows} rows came over, and {commits} transactions meanwhile");
                about(table, MemberEvent::Loaded, &text)
            }
            ClusterEvent::RowsReplaced { table, rows, newer } => {
                let text = format!(
                    "had {rows} rows here that the others do not have, {newer} of them newer; they were replaced"
                );
                about(table, MemberEvent::RowsReplaced, &text)
            }
            ClusterEvent::CopyDiffers { table } => {
                let text =
                    "is not what its source has, although all that differed came: it is being copied whole";
                about(table, MemberEvent::Loading, text)
            }
            ClusterEvent::CopyDropped { table } => {
                about(table, MemberEvent::CopyDropped, "is not kept here any more: its rows have gone")
            }
            ClusterEvent::CameBackEmpty { table } => {
                let text = "came back empty: all its copies were in memory and all their processes ended";
                about(table, MemberEvent::CameBackEmpty, text)
            }
            ClusterEvent::Ready { epoch } => {
                let (event, text) = (MemberEvent::Ready.into(), format!("ready in epoch {epoch}"));
                WatchMemberResponse { event, text, epoch, ..WatchMemberResponse::default() }
            }
            ClusterEvent::ClockAhead { member, ahead_ms } => {
                let member = self.name_of(member);
                let text =
                    format!("the clock of {member} is {ahead_ms} ms ahead of this one's: it is not followed");
                let event = MemberEvent::ClockAhead.into();
                WatchMemberResponse { event, text, member, ..WatchMemberResponse::default() }
            }
        }
    }

    fn name_of(&self, node: NodeId) -> String {
        self.node.member_name(node).map_or_else(|| node.to_string(), str::to_owned)
    }

    fn table_name(&self, table: TableId) -> String {
        let known = self.node.tables().into_iter().find(|def| def.id == table);
        known.map_or_else(|| format!("number {}", table.0), |def| def.name)
    }
}
