//! Calls about the cluster.

use std::time::Duration;

use super::{Client, ClusterStatus, InDoubtTransaction, Member, Outcome, TransactionId};
use crate::Error;
use crate::proto;

impl Client {
    /// The state of the connected member.
    pub async fn status(&self) -> Result<ClusterStatus, Error> {
        Ok(self.cluster_client().status(proto::StatusRequest {}).await?.into_inner())
    }

    /// The members.
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        Ok(self.cluster_client().members(proto::MembersRequest {}).await?.into_inner().members)
    }

    /// Takes another member than the connected one out of the epochs in good order, or lets it take part again.
    pub async fn drain_member(&self, member: impl Into<String>, undo: bool) -> Result<(), Error> {
        let request = proto::DrainMemberRequest { member: member.into(), undo };
        self.cluster_client().drain_member(request).await.map(drop).map_err(Error::from)
    }

    /// Removes another member than the connected one for good.
    pub async fn remove_member(&self, member: impl Into<String>) -> Result<(), Error> {
        let request = proto::RemoveMemberRequest { member: member.into() };
        self.cluster_client().remove_member(request).await.map(drop).map_err(Error::from)
    }

    /// Gives a member a copy of every table of which another one keeps one, and removes that one, which is not the connected one.
    pub async fn replace_member(
        &self,
        member: impl Into<String>,
        by: impl Into<String>,
    ) -> Result<(), Error> {
        let request = proto::ReplaceMemberRequest { member: member.into(), by: by.into() };
        self.cluster_client().replace_member(request).await.map(drop).map_err(Error::from)
    }

    /// Transactions whose outcome nobody connected can tell, oldest first.
    pub async fn in_doubt(&self) -> Result<Vec<InDoubtTransaction>, Error> {
        Ok(self.cluster_client().in_doubt(proto::InDoubtRequest {}).await?.into_inner().transactions)
    }

    /// What became of a transaction, as far as the connected member knows; with the commit's timestamp if it was committed.
    pub async fn outcome(&self, transaction: TransactionId) -> Result<(Outcome, u64), Error> {
        let request = proto::OutcomeRequest { transaction: Some(transaction) };
        let response = self.cluster_client().outcome(request).await?.into_inner();
        Ok((response.outcome(), response.committed_at))
    }

    /// Returns when the tables may be read and written at the connected member. No names: all tables with a copy there.
    pub async fn wait_for_tables<S: Into<String>>(
        &self,
        tables: impl IntoIterator<Item = S>,
        timeout: Duration,
    ) -> Result<(), Error> {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let request =
            proto::WaitForTablesRequest { tables: tables.into_iter().map(Into::into).collect(), timeout_ms };
        self.cluster_client().wait_for_tables(request).await?;
        Ok(())
    }
}
