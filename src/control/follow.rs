//! Tells the replica what was agreed on.

use std::sync::Arc;

use hypermnesia_replication::Agreement;

use crate::core::Core;
use crate::error::Error;

/// Tells the replica what was agreed on, as it comes.
pub(super) async fn follow(core: Arc<Core>) {
    let Some(control) = core.control() else { return };
    let mut register = control.register.subscribe();
    register.mark_changed();
    while !core.is_closed() && register.changed().await.is_ok() {
        let agreed = Arc::clone(&register.borrow_and_update());
        if agreed.cluster().is_none() {
            continue;
        }
        let slots = agreed.nodes().map(|(_, enlisted)| enlisted.node);
        if !slots.eq(core.members.iter().map(|(node, _)| *node)) {
            let named: Vec<&str> = agreed.nodes().map(|(_, enlisted)| enlisted.name.as_str()).collect();
            let named = named.join(", ");
            return core.fail(Error::Config(format!("the cluster was founded with the members {named}")));
        }
        if let Some(latest) = agreed.latest() {
            core.membership.lease.on_epoch(latest.number);
        }
        core.event(|core, now, out| core.replica.on_agreed(now, Agreement::of(&agreed), out));
    }
}
