//! The simulated network: late, lossy, doubling, cut in one direction or both.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use hypermnesia_store::disc::MemDisc;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::world::World;
use crate::plane::message::{Answer, Request};
use crate::plane::{Plane, RaftId, Reply, Unreachable, Voter, Wire};

#[derive(Clone)]
pub(super) struct SimulatedWire {
    pub(super) slot: usize,
    pub(super) life: u64,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) discs: Arc<Mutex<BTreeMap<usize, MemDisc>>>,
}

impl Wire for SimulatedWire {
    fn send(&self, _: RaftId, voter: &Voter, bytes: Vec<u8>) -> Reply {
        let (wire, to) = (self.clone(), voter.address.parse().expect("addresses are slots here"));
        Box::pin(async move { wire.carry(to, bytes).await })
    }
}

impl SimulatedWire {
    async fn carry(&self, to: usize, bytes: Vec<u8>) -> Result<Vec<u8>, Unreachable> {
        let (sent, way, twice) = {
            let mut world = self.world.lock();
            (world.now_ns(), world.way(), world.random.u8(..) < 8)
        };
        sleep(way).await;
        let Some(plane) = self.reached(to)? else { return pending().await };
        if twice {
            self.again(plane.clone(), bytes.clone());
        }
        let (answer, request, read) = self.answered(to, &plane, &bytes).await?;
        let way = self.world.lock().way();
        sleep(way).await;
        if self.lost(to, self.slot) {
            return pending().await;
        }
        self.world.lock().heard(sent, &request, &read, &answer);
        Ok(answer)
    }

    fn lost(&self, from: usize, to: usize) -> bool {
        let world = self.world.lock();
        !world.lives(self.slot, self.life) || world.cut.contains(&(from, to))
    }

    /// Who is there. Nobody is noticed at once, or never.
    fn reached(&self, to: usize) -> Result<Option<Arc<Plane>>, Unreachable> {
        let lost = self.lost(self.slot, to);
        let mut world = self.world.lock();
        let noticed = world.random.bool();
        match world.planes.get(&to) {
            Some((_, plane)) if !lost => Ok(Some(plane.clone())),
            _ if noticed => Err(Unreachable(format!("slot {to}"))),
            _ => Ok(None),
        }
    }

    fn again(&self, plane: Arc<Plane>, bytes: Vec<u8>) {
        let way = self.world.lock().way();
        tokio::spawn(async move {
            sleep(way).await;
            drop(plane.on_request(&bytes).await);
        });
    }

    /// The answer, looked at before it leaves.
    async fn answered(
        &self,
        to: usize,
        plane: &Plane,
        bytes: &[u8],
    ) -> Result<(Vec<u8>, Request, Answer), Unreachable> {
        let answer = plane.on_request(bytes).await.map_err(|wrong| {
            let what = format!("slot {} asks what none may ask: {wrong}", self.slot);
            self.world.lock().wrong.push(what.clone());
            Unreachable(what)
        })?;
        let request = Request::decode(bytes).expect("it was understood");
        let read = Answer::decode(&answer, &request.ask.asked()).expect("what planes answer is sound");
        let check = self.world.lock().before_answer;
        if let Some(wrong) = check.and_then(|check| check(&self.discs.lock()[&to], &request.ask, &read)) {
            self.world.lock().wrong.push(wrong);
        }
        Ok((answer, request, read))
    }
}
