//! The register as the state that the consensus replicates: what each agreed command means.

use std::sync::Arc;

use hypermnesia_replication::register::{Command, Register};
use tokio::sync::watch;

use crate::plane::Machine;

/// Applies commands, and shows what came of them to whoever watches.
pub(super) struct RegisterMachine {
    register: Register,
    shown: watch::Sender<Arc<Register>>,
}

impl RegisterMachine {
    /// An empty one.
    pub(super) fn new(shown: watch::Sender<Arc<Register>>) -> RegisterMachine {
        let machine = RegisterMachine { register: Register::default(), shown };
        machine.show();
        machine
    }

    fn show(&self) {
        self.shown.send_replace(Arc::new(self.register.clone()));
    }
}

impl Machine for RegisterMachine {
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        match Command::decode(command) {
            Ok(command) => {
                let answer = self.register.apply(&command);
                self.show();
                answer.encode()
            }
            // To go on without it would be another register than that of whoever can read it.
            Err(error) => panic!("command {index} of the control plane: {error}"),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.register.encode()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.register = Register::decode(snapshot).map_err(|error| error.to_string())?;
        self.show();
        Ok(())
    }
}
