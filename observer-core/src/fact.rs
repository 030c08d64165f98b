//! Every fact of a message is present, absent or not observed; not observed is never absent.

/// What is known of one fact of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact<T> {
    /// The message carries it.
    Present(T),
    /// The whole head was seen and does not carry it.
    Absent,
    /// The head was not fully seen, and the part that was seen does not carry it.
    NotObserved,
}

impl<T> Fact<T> {
    /// The value, where the message carries it.
    pub fn present(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::NotObserved => None,
        }
    }

    /// The same fact by reference.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Present(value) => Fact::Present(value),
            Self::Absent => Fact::Absent,
            Self::NotObserved => Fact::NotObserved,
        }
    }

    /// The fact with its value changed by `change`.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Present(value) => Fact::Present(change(value)),
            Self::Absent => Fact::Absent,
            Self::NotObserved => Fact::NotObserved,
        }
    }

    /// A fact that was looked for in a head: `None` is absent only where the head is complete.
    pub fn looked_for(value: Option<T>, head_complete: bool) -> Self {
        match (value, head_complete) {
            (Some(value), _) => Self::Present(value),
            (None, true) => Self::Absent,
            (None, false) => Self::NotObserved,
        }
    }
}
