/* A model, for spin, of one run and the jobs that may work it: recording, claim,
 * settling, rescue, replay and sweep. There are two workers and two replays. At
 * any point there may be two crashes, a failed attempt, and a job that River gives
 * to a second worker while the first still works. "make model" checks all
 * interleavings. Each part names the code that it models.
 *
 * It checks three claims. No effect takes place twice for one repetition. When no
 * step is possible any more, the run is settled and each of its repetitions took
 * place. With fair scheduling, the run is settled in the end. BROKEN_LOCK and
 * BROKEN_FENCE remove one safeguard each; then spin must find a violation.
 */
#ifndef REPLAYS
#define REPLAYS 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#define JOBS    3        /* one for the recording and one for each replay */
#define UNLOCKED  255
#define DEAD    254      /* the owner of a job whose program was killed */

mtype = { NONE, PENDING, SUCCEEDED, FAILED };      /* the state of the run */
mtype = { ABSENT, AVAILABLE, RUNNING, FINISHED };  /* the state of a job */

mtype state = NONE;      /* the row in lumin.runs: state, replay_id, rerun, row lock */
byte replay_id, rerun, lock = UNLOCKED;
mtype job[JOBS] = ABSENT; /* River's table; job n belongs to replay n */
byte owner[JOBS];
byte effects[JOBS];      /* by rerun */
bool plain, acked;       /* a plain job type works outside the transaction */
byte crashes = CRASHES, fails = 1, rescues = 1, replays;

/* store/claim.go: actsOnRun */
#ifdef BROKEN_FENCE
#define ACTS(j) (state != SUCCEEDED)
#else
#define ACTS(j) (replay_id <= j && (state != SUCCEEDED || replay_id < j))
#endif
#define LIVE(j) (job[j] == AVAILABLE || job[j] == RUNNING)
#define SETTLED (state == SUCCEEDED || state == FAILED)

/* River finishes a job only if it is running, but no matter for whom. */
inline finish(j, to) { if :: job[j] == RUNNING -> job[j] = to :: else fi }

/* SIGKILL: the transaction is rolled back, the job stays running. */
inline crash() {
	crashes > 0 -> crashes--;
	if :: lock == me -> lock = UNLOCKED :: else fi;
	if :: job[j] == RUNNING && owner[j] == me -> owner[j] = DEAD :: else fi
}

/* migrations/attach.sql: settle_failure */
inline settle_failure(n) {
	if :: state == PENDING && replay_id == n && lock == UNLOCKED -> state = FAILED :: else fi
}

/* store/record.go: sendRecording, recordSQL; store/flush.go: commit, accept */
active proctype recorder() {
	do
	:: atomic { state == NONE -> state = PENDING; job[0] = AVAILABLE }       /* COMMIT */
	:: state != NONE -> acked = true; break                               /* 200, for a redelivery too */
	:: atomic { crashes > 0 -> crashes-- }                              /* the client sends again */
	od
}

/* worker/execute.go: Work, workTx, workClaimed, workPlain */
proctype worker(byte me) {
	byte j, r;
end:
	atomic {
		if :: job[0] == AVAILABLE -> j = 0 :: job[1] == AVAILABLE -> j = 1 :: job[2] == AVAILABLE -> j = 2 fi;
		job[j] = RUNNING; owner[j] = me
	}
	/* store/claim.go: claimSQL, BeginClaim, ReadRun; worker/claim.go: claimError */
	atomic {
		if
		:: !ACTS(j) -> goto complete                                /* turned away */
#ifdef BROKEN_LOCK
		:: ACTS(j) -> r = rerun
#else
		:: ACTS(j) && (plain || lock == UNLOCKED) -> r = rerun; if :: plain :: else -> lock = me fi
		:: ACTS(j) && !plain && lock != UNLOCKED -> finish(j, AVAILABLE); goto end
#endif
		:: crash(); goto end
		fi
	}
	if                                                                  /* the code of the job type */
	:: plain -> atomic { effects[r]++ }
	:: atomic { !plain -> skip }
	:: atomic { fails > 0 -> fails--; if :: lock == me -> lock = UNLOCKED :: else fi; goto failed }
	:: atomic { crash(); goto end }
	fi;
	/* worker/commit.go: commit; store/claim.go: Settle */
	atomic {
		if
		:: !plain -> effects[r]++; assert(effects[r] == 1); state = SUCCEEDED; replay_id = j; lock = UNLOCKED
		:: plain && lock == UNLOCKED -> if :: ACTS(j) -> state = SUCCEEDED; replay_id = j :: else fi
		:: crash(); goto end
		fi
	}
complete:
	atomic { if :: true -> finish(j, FINISHED) :: crash() fi; goto end }
failed: /* worker/outcome.go: outcomeRetried, outcomeFailed */
	atomic {
		if
		:: true -> finish(j, AVAILABLE)
		:: true -> if :: job[j] == RUNNING -> job[j] = FINISHED; settle_failure(j) :: else fi
		:: crash()
		fi;
		goto end
	}
}

/* River's rescuer gives a job to any worker, whether or not its own still works. */
inline rescue(n) {
	atomic { job[n] == RUNNING && (owner[n] == DEAD || rescues > 0) ->
		if :: owner[n] != DEAD -> rescues-- :: else fi; job[n] = AVAILABLE }
}

active proctype upkeep() {
end:	do
	:: rescue(0) :: rescue(1) :: rescue(2)
	   /* store/sweep.go: sweepOrphansSQL */
	:: atomic { state == PENDING && !LIVE(replay_id) && lock == UNLOCKED -> state = FAILED }
	   /* store/replay/page_runs.go: runsPageSQL; store/replay/page_jobs.go: enqueueTakenSQL */
	:: atomic { SETTLED && lock == UNLOCKED && replays < REPLAYS ->
		replays++;
		if :: state == SUCCEEDED -> rerun++ :: else fi;
		state = PENDING; replay_id = replays; job[replays] = AVAILABLE }
	od
}

/* When nothing moves any more, nothing was lost and nothing is left over. */
active proctype observer() {
	byte r;
	timeout -> assert(acked && SETTLED);
	do
	:: r < rerun + (state == SUCCEEDED -> 1 : 0) -> assert(effects[r] == 1 || plain && effects[r] > 1); r++
	:: else -> break
	od
}

init { if :: plain = true :: plain = false fi; run worker(1); run worker(2) }

ltl settles { <>[] SETTLED }
