//! Sums of what was over before a moment, and of what had begun by it: sorted once, then a binary search for each.

/// Amounts by their moments.
#[derive(Default)]
pub(crate) struct Sums {
    /// Sorted by `close`; then each amount with all before it.
    at: Vec<(u64, i64)>,
}

impl Sums {
    pub(crate) fn add(&mut self, moment: u64, amount: i64) {
        self.at.push((moment, amount));
    }

    /// All are in.
    pub(crate) fn close(&mut self) {
        self.at.sort_unstable();
        let mut sum = 0;
        for (_, amount) in &mut self.at {
            sum += *amount;
            *amount = sum;
        }
    }

    /// Of all before a moment.
    pub(crate) fn before(&self, moment: u64) -> i64 {
        self.first(self.at.partition_point(|(at, _)| *at < moment))
    }

    /// Of all up to a moment, and at it.
    pub(crate) fn until(&self, moment: u64) -> i64 {
        self.first(self.at.partition_point(|(at, _)| *at <= moment))
    }

    fn first(&self, count: usize) -> i64 {
        count.checked_sub(1).map_or(0, |last| self.at[last].1)
    }
}

/// What must and what may have been added to something.
#[derive(Default)]
pub(crate) struct Bounds {
    /// What is surely there once it is over, and what may be there once it has begun; of additions and of subtractions.
    more: (Sums, Sums),
    less: (Sums, Sums),
}

impl Bounds {
    /// One addition: when it began, and when it was over, if anybody knows.
    pub(crate) fn add(&mut self, invoked: u64, over: Option<u64>, amount: i64) {
        let side = if amount < 0 { &mut self.less } else { &mut self.more };
        if let Some(over) = over {
            side.0.add(over, amount);
        }
        side.1.add(invoked, amount);
    }

    pub(crate) fn close(&mut self) {
        for side in [&mut self.more, &mut self.less] {
            side.0.close();
            side.1.close();
        }
    }

    /// The least and the most that somebody may read who began and ended then.
    pub(crate) fn of(&self, invoked: u64, completed: u64) -> (i64, i64) {
        let least = self.more.0.before(invoked) + self.less.1.until(completed);
        let most = self.more.1.until(completed) + self.less.0.before(invoked);
        (least, most)
    }
}
