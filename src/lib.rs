//! Triage reads a support ticket the moment it arrives and says what it is about, how urgent it is, what solved it
//! before, what could be replied, and how sure it is.

pub mod error;
pub mod suggest;
pub mod taxonomy;
pub mod ticket;
