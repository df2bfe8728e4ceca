//! Here are probabilities, neighbours, hits and the department's policy, give me decisions with reasons, an answer
//! with its sources, and duplicates.
//!
//! Pure: no store, no clock, no model. It is not for ranking (that is `retrieve`) nor for probabilities (`classify`).

pub mod answer;
pub mod decide;
pub mod duplicates;
pub mod overlap;
