//! Three nodes in one process over loopback: what the library promises about a cluster.

mod agree;
mod backups;
mod bounds;
#[path = "../shared/certificates.rs"]
mod certificates;
mod control;
mod copies;
mod disc;
mod disc_only;
mod evolution;
mod failing;
mod growth;
#[path = "../shared/hard_stop.rs"]
mod hard_stop;
mod identity;
mod local;
#[path = "../shared/loopback.rs"]
mod loopback;
mod majority;
mod moving;
mod old_copy;
mod rejoin;
mod remote;
mod requests;
mod rubbish;
mod sequences;
mod tls;
mod trio;
#[path = "../shared/until.rs"]
mod until;
#[path = "../shared/warnings.rs"]
mod warnings;
