//! How the leader of the control plane takes nodes in: it has them enlisted, and tells them who the members are.

use hypermnesia_replication::Member;
use hypermnesia_replication::register::{Answer, Change, Command, Enlisting, Register, Role};
use hypermnesia_store::NodeId;

use super::Control;
use crate::core::Core;
use crate::peer::{Admission, Asking};

impl Control {
    /// Somebody asks for a place in the cluster. Asked again, the answer is the same: it has one by then.
    pub(crate) async fn admit(&self, core: &Core, asking: Asking) -> Admission {
        if asking.cluster != core.cluster {
            return Admission::Refused(format!(
                "this is cluster {:?}, not {:?}",
                core.cluster, asking.cluster
            ));
        }
        let ours = core.membership.timing.lease_ms();
        if asking.lease_ms != ours {
            let theirs = asking.lease_ms;
            return Admission::Refused(format!(
                "its leases last {theirs} ms and ours {ours} ms: start it with the same --lease"
            ));
        }
        let view = self.view();
        if !view.leading {
            let leader = view.leader.filter(|(_, leader)| leader.node != core.me.node);
            return match leader.map(|(_, leader)| core.member_address(leader.node)) {
                Some(address) if !address.is_empty() => Admission::Ask(address),
                _ => Admission::Later("nobody leads the control plane".to_owned()),
            };
        }
        let register = self.register();
        if register.cluster().is_none() || !view.caught_up {
            return Admission::Later("the cluster is only beginning".to_owned());
        }
        let node = NodeId::of_name(&asking.name);
        let here = register.cluster().map(|(id, _)| id);
        if asking.founded.is_some() && asking.founded != here {
            return Admission::Refused("it was a member of another cluster of that name".to_owned());
        }
        // One that was cut off or killed is soon heard no more.
        if asking.founded.is_none() && node == core.me.node || asking.founded.is_none() && self.hears(node) {
            return Admission::Later(format!("a member with the name {:?} is there", asking.name));
        }
        match register.enlisted(node) {
            Some(one) if one.name != asking.name => {
                Admission::Refused(format!("its id is that of member {:?}: give it another name", one.name))
            }
            Some(one) if one.address == asking.address => welcome(&register),
            Some(one) => {
                let change = Change::Readdress { node, address: asking.address, raft: one.raft };
                self.enlist(core, &register, change).await
            }
            None if asking.founded.is_some() => Admission::Removed,
            None => {
                let Asking { name, address, .. } = asking;
                let new = Enlisting { name, address, role: Role::Data, raft: None };
                self.enlist(core, &register, Change::Enlist(new)).await
            }
        }
    }

    async fn enlist(&self, core: &Core, register: &Register, change: Change) -> Admission {
        let command = Command::Roster { seen: register.revision(), change };
        match self.propose(core, &command).await {
            Some(Answer::Done | Answer::Already) => welcome(&self.register()),
            Some(Answer::Refused(refusal)) => Admission::Later(refusal.to_string()),
            None => Admission::Later("it was not agreed on".to_owned()),
        }
    }
}

fn welcome(register: &Register) -> Admission {
    let Some((founded, _)) = register.cluster() else {
        return Admission::Later("the cluster is only beginning".to_owned());
    };
    let member = |(slot, one): (usize, &hypermnesia_replication::register::Enlisted)| {
        let (node, name, address) = (one.node, one.name.clone(), one.address.clone());
        (slot, Member { node, name, address })
    };
    Admission::Welcome { founded, members: register.nodes().map(member).collect() }
}
