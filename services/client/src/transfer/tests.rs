use std::io::Cursor;

use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn transfer(address: String, size: u32) -> Transfer {
    Transfer {
        address,
        task_id: "t".to_owned(),
        user_id: 7,
        mode: TransferFileType::FileTypeOffline,
        size,
    }
}

/// A file server that lets one client in, and what it does then.
async fn server<F, Fut>(then: F) -> String
where
    F: FnOnce(RawConn) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut conn = RawConn::new(stream);
        let request: ImFileLoginReq = conn.expect(Command::FileLoginReq, PATIENCE).await.unwrap();
        let answer = ImFileLoginRsp {
            result_code: 0,
            task_id: request.task_id,
        };
        conn.send(Command::FileLoginRsp, 1, &answer).await.unwrap();
        then(conn).await;
    });
    address
}

fn block(offset: u32, data: &'static [u8]) -> ImFilePullDataRsp {
    ImFilePullDataRsp {
        result_code: 0,
        task_id: "t".to_owned(),
        user_id: 7,
        offset,
        file_data: Bytes::from_static(data),
    }
}

/// What a download of ten bytes ends with when the server answers like this.
async fn downloaded(answer: ImFilePullDataRsp) -> Result<Vec<u8>, TransferError> {
    let address = server(|mut conn| async move {
        let frame = conn.recv(PATIENCE).await.unwrap();
        let seq = frame.header.seq;
        conn.send(Command::FilePullDataRsp, seq, &answer)
            .await
            .unwrap();
    })
    .await;
    let mut sink = Vec::new();
    take(&transfer(address, 10), &mut sink, PATIENCE).await?;
    Ok(sink)
}

#[tokio::test]
async fn a_block_must_be_what_was_asked_for() {
    let whole = downloaded(block(0, b"0123456789")).await.unwrap();
    assert_eq!(whole, b"0123456789");
    for wrong in [block(1, b"012"), block(0, b""), block(0, b"0123456789x")] {
        let error = downloaded(wrong).await.unwrap_err();
        assert!(matches!(error, TransferError::Protocol(_)), "{error}");
    }
    let failed = ImFilePullDataRsp {
        result_code: 1,
        ..block(0, b"0")
    };
    assert!(downloaded(failed).await.is_err());
    // The server ends the connection in the middle of the file.
    let error = downloaded(block(0, b"012")).await.unwrap_err();
    assert!(matches!(error, TransferError::Server(_)), "{error}");
}

#[tokio::test]
async fn a_file_that_became_shorter_ends_its_transfer_and_the_other_side_is_told() {
    let (told, hears) = tokio::sync::oneshot::channel();
    let address = server(|mut conn| async move {
        let request = ImFilePullDataReq {
            task_id: "t".to_owned(),
            user_id: 7,
            trans_mode: TransferFileType::FileTypeOffline.into(),
            offset: 0,
            data_size: BLOCK,
        };
        conn.send(Command::FilePullDataReq, 0, &request)
            .await
            .unwrap();
        let state: ImFileState = conn.expect(Command::FileState, PATIENCE).await.unwrap();
        told.send(state.state()).unwrap();
    })
    .await;
    let mut source = Cursor::new(b"short".to_vec());
    let outcome = give(&transfer(address, 10), &mut source, PATIENCE).await;
    assert!(
        matches!(outcome, Err(TransferError::File(_))),
        "{outcome:?}"
    );
    assert_eq!(hears.await.unwrap(), ClientFileState::ClientFileCancel);
}

#[tokio::test]
async fn nothing_outside_the_file_is_given_and_a_refusal_is_told() {
    let ask = |offset| ImFilePullDataReq {
        task_id: "t".to_owned(),
        user_id: 7,
        trans_mode: TransferFileType::FileTypeOffline.into(),
        offset,
        data_size: 5,
    };
    let address = server(move |mut conn| async move {
        conn.send(Command::FilePullDataReq, 0, &ask(10))
            .await
            .unwrap();
        drop(conn.wait_closed(PATIENCE).await);
    })
    .await;
    let mut source = Cursor::new(vec![0; 20]);
    let outcome = give(&transfer(address, 10), &mut source, PATIENCE).await;
    assert!(
        matches!(outcome, Err(TransferError::Protocol(_))),
        "{outcome:?}"
    );
    let address = server(|mut conn| async move {
        let state = ImFileState {
            state: ClientFileState::ClientFileRefuse.into(),
            task_id: "t".to_owned(),
            user_id: 9,
        };
        conn.send(Command::FileState, 0, &state).await.unwrap();
        drop(conn.wait_closed(PATIENCE).await);
    })
    .await;
    let outcome = give(&transfer(address, 10), &mut source, PATIENCE).await;
    assert!(
        matches!(outcome, Err(TransferError::Refused)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn who_does_nothing_is_given_up() {
    let address = server(|mut conn| async move {
        drop(conn.wait_closed(PATIENCE).await);
    })
    .await;
    let mut source = Cursor::new(vec![0; 20]);
    let patience = Duration::from_millis(200);
    let outcome = give(&transfer(address, 10), &mut source, patience).await;
    assert!(
        matches!(outcome, Err(TransferError::Late(it)) if it == patience),
        "{outcome:?}"
    );
}

#[test]
fn an_address_can_be_dialed() {
    let told = |ip: &str, port| IpAddr {
        ip: ip.to_owned(),
        port,
    };
    let first = |list: &[IpAddr]| Transfer::first_address(list);
    assert_eq!(first(&[told("10.0.0.1", 8_600)]).unwrap(), "10.0.0.1:8600");
    assert_eq!(first(&[told("2001:db8::1", 1)]).unwrap(), "[2001:db8::1]:1");
    assert_eq!(first(&[told("a", 70_000)]), None);
    assert_eq!(first(&[]), None);
}
