//! The order of events: spread, kill, go on, return.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::time::{sleep, timeout};
use warren_wire::v1;

use super::{
    display::Display,
    ledger::{Kill, Ledger},
    load::{self, Crowd, Places},
    report::{Report, Sessions, millis, unix_ms},
    site::{GROUP, MEMBERS, Site, WEB},
};
use crate::client::answer;

/// How often the gateway's records are fetched while callers call.
const LOOK: Duration = Duration::from_millis(100);
/// The crowd before the kill and after it, so that both can be seen.
const WATCH: Duration = Duration::from_millis(1_500);
const WRITE_AGAIN: Duration = Duration::from_millis(20);
const RETURN: Duration = Duration::from_secs(40);
/// Several rounds of words between members, on a slow machine.
const TRUST: Duration = Duration::from_secs(10);
/// More sessions than come between two looks.
const RECORDS: u32 = 2_000;

pub(super) async fn tell(site: &mut Site, sessions: u32, display: &mut Display) -> anyhow::Result<Report> {
    let ledger = Arc::new(Ledger::default());
    let places = Places { echo: site.echo.clone(), web: site.web.clone(), ledger: ledger.clone() };

    spread(site, &places, sessions, display).await?;
    let crowd = Crowd::gather(&places);
    watch(site, &ledger, display, "callers come and go", WATCH).await?;

    let victim = busiest(site).await?;
    let victim_id = site.agents[victim].id.clone();
    let victim_name = site.agents[victim].name.clone();
    let killed = Instant::now();
    site.kill(victim).await?;
    let kill = Kill { member: victim_id.clone(), gone: Instant::now() };
    display.done(&format!("killed {victim_name}, the busiest, with SIGKILL"));
    let (first_session, config) = tokio::join!(first_session(&places, killed), first_write(site, killed));
    let (first_session, config) = (first_session?, config?);
    display.done(&format!("the next session was open after {} ms", millis(first_session)));
    display.done(&format!("the next config change was agreed after {} ms", millis(config)));
    watch(site, &ledger, display, &format!("sessions go on without {victim_name}"), WATCH).await?;

    let restarted = unix_ms();
    site.restart(victim)?;
    display.begin(&format!("waiting for {victim_name} to take sessions again"));
    let returned = returned(site, &ledger, &victim_id, restarted, display).await?;
    display.done(&format!("{victim_name}, started again, took a session after {returned} ms"));
    watch(site, &ledger, display, &format!("{victim_name} takes its part again"), WATCH / 2).await?;

    crowd.dismiss().await;
    look(site, &ledger).await?;
    display.begin(&format!("waiting for the others to trust {victim_name} again"));
    let status = settled(site).await?;
    show_members(site, &ledger, &status, display);
    let totals = ledger.totals(Some(&kill));
    let spread = ledger.spread().into_iter().map(|(id, count)| (site.name_of(&id), count)).collect();
    Ok(Report {
        members: MEMBERS,
        leader: site.name_of(&status.leader),
        revision: status.revision,
        sessions: Sessions::from(&totals),
        spread,
        first_session_after_kill_ms: millis(first_session),
        config_after_kill_ms: millis(config),
        returned_ms: returned,
        killed: victim_name,
        unexcused: totals.unexcused,
    })
}

/// Drives the asked number of sessions and shows where they went.
async fn spread(site: &Site, places: &Places, sessions: u32, display: &mut Display) -> anyhow::Result<()> {
    let driving = load::drive(places, sessions);
    tokio::pin!(driving);
    loop {
        let done = tokio::select! {
            () = &mut driving => true,
            () = sleep(LOOK) => false,
        };
        look(site, &places.ledger).await?;
        let count = places.ledger.opened_so_far();
        display.progress(
            "driving sessions",
            count,
            sessions.into(),
            &["MEMBER", "SESSIONS"],
            rows(site, &places.ledger),
        );
        if done {
            break;
        }
    }
    display.done(&format!("{} sessions were spread like this:", places.ledger.opened_so_far()));
    display.table(&["MEMBER", "SESSIONS"], rows(site, &places.ledger));
    Ok(())
}

/// Lets the crowd go on for a while and keeps the books meanwhile.
async fn watch(
    site: &Site,
    ledger: &Ledger,
    display: &mut Display,
    what: &str,
    time: Duration,
) -> anyhow::Result<()> {
    let (began, before) = (Instant::now(), ledger.opened_so_far());
    while began.elapsed() < time {
        sleep(LOOK).await;
        look(site, ledger).await?;
        let (passed, all) = (began.elapsed().as_millis(), time.as_millis());
        display.progress(what, passed as u64, all as u64, &["MEMBER", "SESSIONS"], rows(site, ledger));
    }
    let opened = ledger.opened_so_far() - before;
    display.done(&format!("{what}: {opened} more sessions in {:.1} s", time.as_secs_f64()));
    Ok(())
}

/// The group once it is whole. Its members take a few seconds to trust one that was gone; if they do not on this machine, it is
/// shown as it is.
async fn settled(site: &Site) -> anyhow::Result<v1::GroupStatus> {
    let is_whole = |status: &v1::GroupStatus| status.quorum && !status.leader.is_empty();
    let is_well = |member: &v1::MemberStatus| member.status == "Active";
    let all_well = |status: &v1::GroupStatus| is_whole(status) && status.members.iter().all(is_well);
    match timeout(TRUST, site.until("every member is well", all_well)).await {
        Ok(status) => status,
        Err(_) => site.until("the group is whole again", is_whole).await,
    }
}

/// The member with the most sessions at this moment.
async fn busiest(site: &Site) -> anyhow::Result<usize> {
    let status = site.status().await?;
    let busiest =
        status.members.iter().max_by_key(|member| member.sessions).context("the group has no members")?;
    let position = site.agents.iter().position(|agent| agent.id == busiest.id);
    position.with_context(|| format!("{} is no agent of this demo", busiest.id))
}

/// From the kill until a session that began after it has had its first answer.
async fn first_session(places: &Places, killed: Instant) -> anyhow::Result<Duration> {
    while killed.elapsed() < RETURN {
        if places.open(Instant::now()).await.is_some() {
            return Ok(killed.elapsed());
        }
        sleep(WRITE_AGAIN).await;
    }
    bail!("no session could be opened within {} s of the kill", RETURN.as_secs())
}

/// From the kill until the group has agreed on a change of its config.
async fn first_write(site: &Site, killed: Instant) -> anyhow::Result<Duration> {
    loop {
        let request = v1::UpdateResourceRequest {
            group: GROUP.into(),
            name: WEB.into(),
            description: Some("changed while a member was dead".into()),
            ..Default::default()
        };
        match answer(site.api.resources().update(request)).await {
            Ok(_) => return Ok(killed.elapsed()),
            Err(error) if killed.elapsed() > RETURN => {
                return Err(error).context("no config change was agreed");
            }
            Err(_) => sleep(WRITE_AGAIN).await,
        }
    }
}

/// From the restart until the member took a session, both by the wall clock that it shares with the gateway.
async fn returned(
    site: &Site,
    ledger: &Ledger,
    member: &str,
    restarted_ms: u64,
    display: &mut Display,
) -> anyhow::Result<u64> {
    let waiting = async {
        loop {
            look(site, ledger).await?;
            if let Some(opened_ms) = ledger.first_of(member, restarted_ms) {
                return Ok(opened_ms - restarted_ms);
            }
            sleep(LOOK / 2).await;
        }
    };
    display.begin("waiting for it to take sessions again");
    timeout(RETURN, waiting)
        .await
        .with_context(|| format!("the member took no session within {} s of its restart", RETURN.as_secs()))?
}

/// Fetches the gateway's newest records.
async fn look(site: &Site, ledger: &Ledger) -> anyhow::Result<()> {
    let request =
        v1::ListSessionsRequest { group: GROUP.into(), all: true, limit: RECORDS, ..Default::default() };
    ledger.record(answer(site.api.sessions().list(request)).await?.sessions);
    Ok(())
}

fn rows(site: &Site, ledger: &Ledger) -> Vec<Vec<String>> {
    let spread = ledger.spread();
    let count = |id: &str| spread.get(id).copied().unwrap_or_default().to_string();
    site.agents.iter().map(|agent| vec![agent.name.clone(), count(&agent.id)]).collect()
}

fn show_members(site: &Site, ledger: &Ledger, status: &v1::GroupStatus, display: &Display) {
    let spread = ledger.spread();
    let row = |member: &v1::MemberStatus| {
        let taken = spread.get(&member.id).copied().unwrap_or_default();
        vec![member.name.clone(), member.status.clone(), member.role.clone(), taken.to_string()]
    };
    display.done(&format!(
        "at the end, {} leads, revision {}:",
        site.name_of(&status.leader),
        status.revision
    ));
    display.table(&["MEMBER", "STATUS", "ROLE", "SESSIONS"], status.members.iter().map(row).collect());
}
