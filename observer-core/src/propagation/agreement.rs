//! Whether all of some requests agree on something: what each says comes in and goes again, the one thing that all say goes out.
//!
//! Sum of the numbers and of their squares: n requests agree exactly where n·Σx² = (Σx)² (Cauchy and Schwarz), so no table of what was
//! said is needed.

/// What some requests say, as numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreement {
    sum: u128,
    squares: u128,
}

impl Agreement {
    /// `count` requests more say `number`.
    pub(super) fn enter(&mut self, number: u32, count: u32) {
        let [sum, squares] = moments(number, count);
        self.sum = self.sum.saturating_add(sum);
        self.squares = self.squares.saturating_add(squares);
    }

    /// `count` requests that said `number` go.
    pub(super) fn leave(&mut self, number: u32, count: u32) {
        let [sum, squares] = moments(number, count);
        self.sum = self.sum.saturating_sub(sum);
        self.squares = self.squares.saturating_sub(squares);
    }

    /// What all of `count` requests say, where they agree and there are any.
    pub(super) fn of(&self, count: u32) -> Option<u32> {
        let count = u128::from(count);
        let agree = count.saturating_mul(self.squares) == self.sum.saturating_mul(self.sum);
        u32::try_from(self.sum.checked_div(count).filter(|_| agree)?).ok()
    }
}

/// What `count` requests add to the sum and to that of the squares.
fn moments(number: u32, count: u32) -> [u128; 2] {
    let sum = u128::from(number).saturating_mul(u128::from(count));
    [sum, sum.saturating_mul(u128::from(number))]
}
