//! The embedded store keeps the contract.

im_store::store_contract!(sqlite, im_store::testing::TempStore::open());
