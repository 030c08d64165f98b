//! One direction that consists of parts, each of which tells its length near its beginning: frames, or lines and what they announce.
//! Its bytes come in, in order; what a part says is left to its protocol, and what nobody needs of it is passed over here.

use std::fmt::Debug;

use super::Output;
use super::gathering::Gathering;
use super::http1::start_line::Role;
use super::stream::{Parser, Run};
use crate::message::{End, Way};
use crate::time::Timestamp;

/// A protocol that consists of parts; the value is what one direction keeps besides.
pub(super) trait Parts: Debug + Default {
    /// What stands next and is read.
    type Needed: Debug;

    /// How many parts that ended where they must prove a connection.
    const PROOF: u64;
    /// What an end says first.
    const FIRST: Self::Needed;
    /// The beginning of any other part.
    const NEXT: Self::Needed;

    /// Whether a piece behind a loss begins with a part.
    fn begins(bytes: &[u8], role: Role) -> bool;

    /// Whether bytes that an end says first are of another protocol.
    fn is_foreign(_: &[u8], _: Role) -> bool {
        false
    }

    /// Whether a part may end with these bytes: the last ones of it, or as many of them as came together.
    fn may_end(bytes: &[u8]) -> bool;

    /// Takes bytes off `rest`, at least one, of what is needed.
    fn step(direction: &mut Direction<Self>, rest: &mut &[u8], at: Timestamp, out: &mut Output<'_>);

    /// What is needed is missing, or a part of it; returns how many bytes of the part were to come.
    fn miss(direction: &mut Direction<Self>, out: &mut Output<'_>) -> u64;

    /// The direction ended: tells what can only be told then.
    fn end(direction: &mut Direction<Self>, out: &mut Output<'_>);

    /// Parts are missing.
    fn lose(&mut self);

    /// Drops everything that is held.
    fn forget(&mut self);

    /// Bytes held besides those that are gathered.
    fn buffered_bytes(direction: &Direction<Self>) -> usize;

    /// Counts a place where parts are missing.
    fn count_missed(out: &mut Output<'_>);

    /// Counts bytes that stand where a part must begin or end and do not.
    fn count_broken(out: &mut Output<'_>);
}

/// What stands next. `left` counts the bytes of a part that are to come, with what ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected<N> {
    Needed(N),
    /// The rest of a part that nobody needs.
    Rest {
        left: u64,
    },
    /// Bytes are missing, so anything: a part is looked for where a piece begins.
    Adrift,
}

/// What became of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// Whether it began with what an end says first on a connection: then the other direction begins with its first piece too.
    pub(super) is_opened: bool,
    /// Parts that ended where they had to.
    pub(super) sound: u64,
    pub(super) standing: Standing,
}

/// Whether it is, and always was, known where parts begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    #[default]
    Sound,
    /// Bytes were missing.
    Lost,
    /// Bytes stood where they cannot.
    Broken,
    /// What is said is of another protocol that begins alike.
    Foreign,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Direction<P: Parts> {
    pub(super) role: Role,
    pub(super) from: End,
    pub(super) expected: Expected<P::Needed>,
    pub(super) gathered: Gathering,
    /// When the first byte of the part was seen.
    pub(super) at: Timestamp,
    pub(super) course: Course,
    pub(super) parts: P,
}

impl<P: Parts> Direction<P> {
    /// What the end `from` says, from its first byte on.
    pub(super) fn new(role: Role, from: End) -> Self {
        Self {
            role,
            from,
            expected: Expected::Needed(P::FIRST),
            gathered: Gathering::default(),
            at: Timestamp(0),
            course: Course::default(),
            parts: P::default(),
        }
    }

    /// It is not known what the end said before its first piece.
    pub(super) fn join(&mut self) {
        self.expected = Expected::Adrift;
    }

    /// Which way messages go that this end sends.
    pub(super) fn way(&self) -> Way {
        match self.role {
            Role::Requests => Way::Produced,
            Role::Responses => Way::Fetched,
        }
    }

    /// A part ended where it had to.
    pub(super) fn ended(&mut self) {
        self.expected = Expected::Needed(P::NEXT);
        self.course.sound = self.course.sound.saturating_add(1);
    }

    /// Bytes stand where a part must begin or end that do not.
    pub(super) fn broken(&mut self, out: &mut Output<'_>) {
        P::count_broken(out);
        self.drift(Standing::Broken);
    }

    /// What is said is of another protocol.
    pub(super) fn foreign(&mut self) {
        self.course.standing = Standing::Foreign;
        self.forget();
    }

    /// Drops everything that is held.
    pub(super) fn forget(&mut self) {
        self.gathered.clear();
        self.parts.forget();
        self.expected = Expected::Adrift;
    }

    /// Bytes held in buffers.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.gathered.buffered_bytes().saturating_add(P::buffered_bytes(self))
    }

    /// It is not known any more where parts begin.
    fn drift(&mut self, standing: Standing) {
        self.expected = Expected::Adrift;
        self.gathered.clear();
        self.parts.lose();
        self.course.standing = standing;
    }

    /// Passes over bytes of a part of which `left` are to come.
    fn pass(&mut self, left: u64, rest: &mut &[u8], out: &mut Output<'_>) {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let (taken, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        *rest = behind;
        match left.saturating_sub(len as u64) {
            0 if P::may_end(taken) => self.ended(),
            0 => self.broken(out),
            left => self.expected = Expected::Rest { left },
        }
    }
}

impl<P: Parts> Parser<Output<'_>> for Direction<P> {
    fn bytes(&mut self, run: &Run<'_>, out: &mut Output<'_>) {
        if self.is_adrift() && run.begins && P::begins(run.bytes, self.role) {
            self.expected = Expected::Needed(P::NEXT);
        }
        if self.course == Course::default() && P::is_foreign(run.bytes, self.role) {
            return self.foreign();
        }
        let mut rest = run.bytes;
        while !rest.is_empty() && self.course.standing != Standing::Foreign {
            match self.expected {
                Expected::Needed(_) => P::step(self, &mut rest, run.at, out),
                Expected::Rest { left } => self.pass(left, &mut rest, out),
                Expected::Adrift => return,
            }
        }
    }

    fn gap(&mut self, count: u64, out: &mut Output<'_>) {
        let left = match self.expected {
            Expected::Adrift => return,
            Expected::Needed(_) => P::miss(self, out),
            Expected::Rest { left } => left,
        };
        self.gathered.clear();
        match left.checked_sub(count) {
            Some(0) => self.expected = Expected::Needed(P::NEXT),
            Some(left) => self.expected = Expected::Rest { left },
            None => {
                P::count_missed(out);
                self.drift(Standing::Lost);
            }
        }
    }

    fn end(&mut self, out: &mut Output<'_>) {
        P::end(self, out);
        self.forget();
    }

    fn spare(&self) -> u64 {
        if let Expected::Rest { left } = self.expected { left } else { 0 }
    }

    fn is_adrift(&self) -> bool {
        matches!(self.expected, Expected::Adrift)
    }

    fn overflow(out: &mut Output<'_>) {
        let overflow = &mut out.shared.anomalies.reorder_overflow;
        *overflow = overflow.saturating_add(1);
    }
}
