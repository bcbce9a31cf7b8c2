//! How a joiner gets its copies while writes go on, and what a process that starts again has. A source sends what changed
//! since the joiner's own copy was right, and then every commit; the joiner counts only in an epoch before whose fence it has
//! got everything.

use crate::cluster::{Cell, Cluster, Copying, Desk, KEYS, Message, Number, Record, Set, TXS, Ts, each, has};
use crate::mutant::Mutant;
use crate::scenario::Scenario;

impl Cluster {
    pub(crate) fn crash(&mut self, scenario: &Scenario, at: usize) {
        self.left.crashes -= 1;
        let nodes = self.nodes.len();
        for other in 0..nodes {
            self.links[other * nodes + at].clear();
        }
        let node = &mut self.nodes[at];
        (node.up, node.live, node.flush, node.copy, node.feeds) = (false, false, None, None, 0);
        (node.lease, node.request, node.lead) = (0, 0, None);
        node.desks = [Desk::Idle; TXS];
        if !scenario.discs {
            (node.cells, node.held, node.records) = Default::default();
            (node.epoch, node.as_of, node.clock, node.stage) = (0, [0; KEYS], 0, None);
        } else if scenario.has(Mutant::RestartedSurvives) {
            // Its log was not synced.
            (0..TXS).for_each(|tx| self.release(at, tx));
        }
        self.end_readings(scenario, at);
    }

    pub(crate) fn restart(&mut self, scenario: &Scenario, at: usize) {
        self.left.restarts -= 1;
        let nodes = self.nodes.len();
        for other in 0..nodes {
            self.links[at * nodes + other].clear();
        }
        let node = &mut self.nodes[at];
        (node.up, node.life) = (true, node.life + 1);
        self.absorb(scenario, at);
        self.nodes[at].live = false;
    }

    /// Whether a node that is no member can begin to copy from another one, or has to begin again.
    pub(crate) fn may_copy(&self, scenario: &Scenario, at: usize, source: usize) -> bool {
        let (node, from) = (&self.nodes[at], &self.nodes[source]);
        let is_valid = |copy: Copying| {
            let source = usize::from(copy.source);
            self.is_current(source) && self.nodes[source].life == copy.life
        };
        let outside = node.up && !self.is_member(self.latest(), at) && self.opened() == self.latest();
        let served =
            each(scenario.held_by(at)).filter(|key| self.epoch(self.opened()).home[*key] == self.opened());
        at != source
            && outside
            && !node.copy.is_some_and(is_valid)
            && self.is_current(source)
            && from.is_open()
            && served.into_iter().all(|key| has(scenario.held_by(source), key))
    }

    /// From when on a node does not know what was committed. The next epoch committed nothing below its stamp; before it
    /// opened, nothing was committed without this node, and what it does not know the outcome of it asks for by key.
    fn since(&self, scenario: &Scenario, at: usize) -> Ts {
        let node = &self.nodes[at];
        let next =
            self.epochs.iter().enumerate().find(|(n, epoch)| *n as Number + 1 > node.epoch && epoch.open);
        match next {
            _ if node.epoch == 0 => 0,
            Some((_, epoch)) if !scenario.has(Mutant::DeltaFromOwnClock) => {
                node.clock.min(epoch.stamp.saturating_sub(1))
            }
            _ => node.clock,
        }
    }

    /// The keys that a node asks for whole: those it has later versions of than it may, and those it is in doubt about.
    fn asked_whole(&self, scenario: &Scenario, at: usize, since: Ts) -> Set {
        let node = &self.nodes[at];
        let later = |key: &usize| node.cells[*key].at.iter().any(|ts| *ts > since);
        let doubts = (0..scenario.transactions.len()).filter(|tx| self.is_in_doubt(at, *tx));
        let doubtful = doubts.fold(0, |set, tx| set | scenario.keys_of(tx));
        let keys = each(scenario.held_by(at));
        keys.filter(|key| later(key) || has(doubtful, *key)).fold(0, |set, key| set | 1 << key)
    }

    pub(crate) fn copy(&mut self, scenario: &Scenario, at: usize, source: usize) {
        self.absorb(scenario, at);
        let since = self.since(scenario, at);
        let whole = self.asked_whole(scenario, at, since);
        let mut cells = self.nodes[source].cells;
        for (key, cell) in cells.iter_mut().enumerate() {
            let wanted = |ts: Ts| has(whole, key) || ts > since;
            *cell = Cell { at: cell.at.map(|ts| if wanted(ts) { ts } else { 0 }), ..Cell::default() };
        }
        let records = self.nodes[source].records;
        self.end_readings(scenario, at);
        let life = self.nodes[source].life;
        self.nodes[at].live = false;
        self.nodes[at].copy = Some(Copying { source: source as u8, life, tailing: false, ended: 0 });
        self.nodes[source].feeds |= 1 << at;
        let link = source * self.nodes.len() + at;
        self.links[link].clear();
        self.send(scenario, source, at, Message::Rows(cells, since, records));
    }

    fn copies_from(&self, at: usize, source: usize) -> bool {
        let node = &self.nodes[at];
        let same = |copy: Copying| usize::from(copy.source) == source && self.nodes[source].life == copy.life;
        !node.live && node.copy.is_some_and(same)
    }

    pub(crate) fn on_rows(
        &mut self,
        scenario: &Scenario,
        from: usize,
        at: usize,
        rows: &[Cell; KEYS],
        since: Ts,
        records: [Record; TXS],
    ) {
        if !self.copies_from(at, from) {
            return;
        }
        let whole = self.asked_whole(scenario, at, since);
        let copied = scenario.held_by(at) & scenario.held_by(from);
        for tx in 0..scenario.transactions.len() {
            // What is in doubt about a key that only this node brings is still to be reported.
            if scenario.keys_of(tx) & scenario.held_by(at) & !copied == 0 {
                self.release(at, tx);
            }
        }
        let node = &mut self.nodes[at];
        for key in each(copied) {
            let cell = &mut node.cells[key];
            for tx in 0..TXS {
                let kept = !has(whole, key) && cell.at[tx] <= since && rows[key].at[tx] == 0;
                if !kept {
                    (cell.at[tx], cell.proposed[tx]) = (rows[key].at[tx], rows[key].at[tx]);
                }
            }
        }
        for (record, theirs) in
            node.records.iter_mut().zip(records).filter(|(_, theirs)| *theirs != Record::None)
        {
            *record = theirs;
        }
        node.copy = node.copy.map(|copy| Copying { tailing: true, ..copy });
    }

    pub(crate) fn on_tail(&mut self, scenario: &Scenario, from: usize, at: usize, tx: u8, ts: Ts) {
        if self.copies_from(at, from) {
            self.apply(scenario, at, usize::from(tx), ts);
        }
    }

    pub(crate) fn on_tail_end(&mut self, scenario: &Scenario, from: usize, at: usize, epoch: Number) {
        if !self.copies_from(at, from) {
            return;
        }
        let node = &mut self.nodes[at];
        node.copy = node.copy.map(|copy| Copying { ended: epoch, ..copy });
        let staged = node.stage.is_some_and(|stage| stage.epoch == epoch);
        if staged && !scenario.has(Mutant::StagedBeforeTheTail) {
            let leader = self.leader_of(scenario, epoch);
            self.send(scenario, at, leader, Message::Staged(epoch));
        }
    }
}
