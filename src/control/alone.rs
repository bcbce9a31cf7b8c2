//! The register of a node that is alone: nobody has to be asked, so it is kept nowhere. What a later life needs of it is in the
//! log, as every member has it of its own epochs.

use hypermnesia_replication::register::{Answer, Carried, Cause, Command, Enlisting, Register, Role};
use hypermnesia_replication::{Agreement, Opened, Peer};
use parking_lot::Mutex;

/// Where it is reached: nowhere.
const ADDRESS: &str = "embedded";

/// See the file's header.
pub(crate) struct Alone(Mutex<Register>);

impl Alone {
    /// Goes on from the last epoch of an earlier life, if there was one: this life is to be the only member of the next.
    pub(crate) fn new(cluster: &str, name: &str, me: Peer, carried: Option<Carried>) -> Alone {
        let number = carried.as_ref().map_or(0, |carried| carried.number) + 1;
        let why = if carried.is_some() { Cause::Restarted } else { Cause::Founded };
        let (name, address) = (name.to_owned(), ADDRESS.to_owned());
        let node = Enlisting { name, address, role: Role::Data, raft: None };
        let id = crate::machine::fresh_number();
        let found = Command::Found {
            cluster: id,
            name: cluster.to_owned(),
            nodes: vec![node],
            slots: Vec::new(),
            carried,
            floor: 0,
        };
        let alone = Alone(Mutex::new(Register::default()));
        alone.apply(&found);
        alone.apply(&Command::Agree { number, members: vec![me], why });
        alone
    }

    fn apply(&self, command: &Command) {
        let answer = self.0.lock().apply(command);
        assert!(matches!(answer, Answer::Done | Answer::Already), "nobody else commands: {answer:?}");
    }

    /// The epoch is open from now on.
    pub(crate) fn open(&self, opened: &Opened) {
        self.apply(&opened.command());
    }

    /// What is agreed.
    pub(crate) fn agreement(&self) -> Agreement {
        Agreement::of(&self.0.lock())
    }
}
