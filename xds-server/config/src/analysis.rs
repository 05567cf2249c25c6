//! What is wrong between objects.
