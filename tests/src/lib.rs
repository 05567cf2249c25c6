//! What the cross-process tests share: starting real servers, waiting on what they say.
