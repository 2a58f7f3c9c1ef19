//! The store keeps the contract.

im_store::store_contract!(
    #[ignore = "needs MariaDB, which MARIADB names"]
    mariadb,
    crate::server::TempStore::open()
);
