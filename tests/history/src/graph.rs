//! Who must come before whom. Nodes are the transactions and, so that the edges stay few, points between them: moments of
//! real time, and the ends of lists. Components are found by Tarjan's algorithm (1972) with a stack of its own.

/// Why one comes before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It wrote the version before.
    Ww,
    /// It wrote what the other read.
    Wr,
    /// It read what the other replaced.
    Rw,
    /// It was over before the other began.
    Time,
    /// No reason of its own: on from a point between.
    Pass,
}

impl Why {
    /// As one of a set of reasons.
    pub(crate) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What an edge is about: the key, and the version that its end wrote or read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) key: u64,
    pub(crate) value: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) why: Why,
    pub(crate) about: About,
}

/// A graph in the making.
pub(crate) struct Graph {
    transactions: usize,
    nodes: usize,
    edges: Vec<Edge>,
}

impl Graph {
    pub(crate) fn new(transactions: usize) -> Graph {
        Graph { transactions, nodes: transactions, edges: Vec::new() }
    }

    /// A point between transactions.
    pub(crate) fn point(&mut self) -> usize {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Nobody comes before itself: such an edge is none.
    pub(crate) fn add(&mut self, from: usize, to: usize, why: Why, about: About) {
        if from != to {
            self.edges.push(Edge { from: from as u32, to: to as u32, why, about });
        }
    }

    /// All edges are in: they are sorted by where they begin.
    pub(crate) fn close(mut self) -> Closed {
        self.edges.sort_by_key(|edge| edge.from);
        let mut begins = vec![0; self.nodes + 1];
        for edge in &self.edges {
            begins[edge.from as usize + 1] += 1;
        }
        for at in 0..self.nodes {
            begins[at + 1] += begins[at];
        }
        Closed { transactions: self.transactions, edges: self.edges, begins }
    }
}

/// A graph that is looked at.
pub(crate) struct Closed {
    transactions: usize,
    pub(crate) edges: Vec<Edge>,
    begins: Vec<usize>,
}

impl Closed {
    pub(crate) fn nodes(&self) -> usize {
        self.begins.len() - 1
    }

    pub(crate) fn is_transaction(&self, node: usize) -> bool {
        node < self.transactions
    }

    /// Where a node's edges are.
    pub(crate) fn of(&self, node: usize) -> std::ops::Range<usize> {
        self.begins[node]..self.begins[node + 1]
    }

    /// The component of each node by edges of these reasons; nothing for a node that is on no cycle.
    pub(crate) fn components(&self, reasons: u8) -> Vec<Option<u32>> {
        let mut search = Search::new(self, reasons);
        for root in 0..self.nodes() {
            search.from(root);
        }
        search.component
    }
}

const UNSEEN: u32 = u32::MAX;

/// Tarjan's search.
struct Search<'a> {
    graph: &'a Closed,
    reasons: u8,
    /// When each node was seen first, and the earliest that it leads back to.
    seen: Vec<u32>,
    low: Vec<u32>,
    count: u32,
    /// Nodes whose component is open.
    open: Vec<usize>,
    is_open: Vec<bool>,
    /// The path: a node, and its next edge.
    path: Vec<(usize, usize)>,
    component: Vec<Option<u32>>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Closed, reasons: u8) -> Search<'a> {
        let nodes = graph.nodes();
        Search {
            graph,
            reasons,
            seen: vec![UNSEEN; nodes],
            low: vec![UNSEEN; nodes],
            count: 0,
            open: Vec::new(),
            is_open: vec![false; nodes],
            path: Vec::new(),
            component: vec![None; nodes],
        }
    }

    fn from(&mut self, root: usize) {
        if self.seen[root] != UNSEEN {
            return;
        }
        self.enter(root);
        while let Some((node, edge)) = self.path.last_mut() {
            let (at, next) = (*node, *edge);
            if next == self.graph.of(at).end {
                self.leave(at);
                continue;
            }
            *edge += 1;
            let taken = self.graph.edges[next];
            if taken.why.bit() & self.reasons != 0 {
                self.take(at, taken.to as usize);
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.seen[node] = self.count;
        self.low[node] = self.count;
        self.count += 1;
        self.open.push(node);
        self.is_open[node] = true;
        self.path.push((node, self.graph.of(node).start));
    }

    fn take(&mut self, at: usize, to: usize) {
        if self.seen[to] == UNSEEN {
            self.enter(to);
        } else if self.is_open[to] {
            self.low[at] = self.low[at].min(self.seen[to]);
        }
    }

    fn leave(&mut self, node: usize) {
        self.path.pop();
        if let Some((parent, _)) = self.path.last() {
            self.low[*parent] = self.low[*parent].min(self.low[node]);
        }
        if self.low[node] != self.seen[node] {
            return;
        }
        let begin = self.open.iter().rposition(|open| *open == node).unwrap_or_default();
        let members = self.open.split_off(begin);
        for member in &members {
            self.is_open[*member] = false;
            // Alone it is on no cycle, since no edge leads from a node to itself.
            self.component[*member] = (members.len() > 1).then_some(self.seen[node]);
        }
    }
}
