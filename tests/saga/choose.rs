//! Where a schedule may go another way: one list of choices names one schedule.

/// Says which way a schedule goes. The first way is the one where all is well.
pub(crate) trait Choose {
    /// One of `n` ways; all but the first cost `cost`.
    fn pick(&mut self, n: usize, cost: usize) -> usize;
    /// How to run this schedule again.
    fn name(&self) -> String;
}

/// Visits every schedule with at most `most` costs, depth first, each from its beginning.
pub(crate) struct Dfs {
    most: usize,
    path: Vec<Point>,
    next: usize,
}

#[derive(Clone, Copy)]
struct Point {
    chosen: usize,
    of: usize,
    cost: usize,
}

impl Dfs {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, path: Vec::new(), next: 0 }
    }

    /// Goes to the next schedule; false: that was the last one.
    pub(crate) fn advance(&mut self) -> bool {
        self.path.truncate(self.next);
        self.next = 0;
        while let Some(point) = self.path.pop() {
            let spent: usize = self.path.iter().map(|p| if p.chosen == 0 { 0 } else { p.cost }).sum();
            if point.chosen + 1 < point.of && spent + point.cost <= self.most {
                self.path.push(Point { chosen: point.chosen + 1, ..point });
                return true;
            }
        }
        false
    }
}

impl Choose for Dfs {
    fn pick(&mut self, n: usize, cost: usize) -> usize {
        if self.next == self.path.len() {
            self.path.push(Point { chosen: 0, of: n, cost });
        }
        let point = self.path[self.next];
        assert_eq!((point.of, point.cost), (n, cost), "the schedule is not deterministic");
        self.next += 1;
        point.chosen
    }

    fn name(&self) -> String {
        let all: Vec<String> = self.path[..self.next].iter().map(|p| p.chosen.to_string()).collect();
        format!("choices [{}]", all.join(","))
    }
}

/// One way after another as a seed has it.
pub(crate) struct Seeded {
    seed: u64,
    bits: u64,
    /// How many of a thousand choices that cost something go wrong.
    wrong: u64,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        let mut it = Self { seed, bits: seed, wrong: 0 };
        it.wrong = [2, 10, 40, 120][(it.bits() % 4) as usize];
        it
    }

    /// SplitMix64.
    pub(crate) fn bits(&mut self) -> u64 {
        self.bits = self.bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.bits;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }
}

impl Choose for Seeded {
    fn pick(&mut self, n: usize, cost: usize) -> usize {
        if n <= 1 {
            0
        } else if cost == 0 {
            self.below(n)
        } else if self.bits() % 1_000 < self.wrong {
            1 + self.below(n - 1)
        } else {
            0
        }
    }

    fn name(&self) -> String {
        format!("seed {}", self.seed)
    }
}
