package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// demoSource is the source of the sample events that fill the dashboard. The
// following job types subscribe to it alone, so the demo's own runs are the same
// with and without them.
const demoSource = "app:sample"

// demoTrouble decides by the first digit of a signature request's id what goes
// wrong with it.
func demoTrouble(e *worker.Event) byte { return e.SignatureRequestID[0] }

// demoCRM is a job type whose system is sometimes unavailable: its runs are
// retried.
type demoCRM struct{ worker.Defaults }

// Kind implements worker.JobType.
func (demoCRM) Kind() string { return "demo_crm" }

// Events implements worker.JobType.
func (demoCRM) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

// Sources implements worker.JobType.
func (demoCRM) Sources() []string { return []string{demoSource} }

// WorkTx implements worker.Transactional.
func (demoCRM) WorkTx(_ context.Context, _ pgx.Tx, e *worker.Event) error {
	if demoTrouble(e) == '1' {
		return errors.New("crm.example.com answers 503: maintenance until 06:00")
	}
	return nil
}

// demoMail is a job type that fails for good, with two errors.
type demoMail struct{ worker.Defaults }

// Kind implements worker.JobType.
func (demoMail) Kind() string { return "demo_mail" }

// Sources implements worker.JobType.
func (demoMail) Sources() []string { return []string{demoSource} }

// Events implements worker.JobType.
func (demoMail) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved, lumin.SignatureRequestSigned}
}

// WorkTx implements worker.Transactional.
func (demoMail) WorkTx(_ context.Context, _ pgx.Tx, e *worker.Event) error {
	switch demoTrouble(e) {
	case '2', '3':
		return worker.JobFail(fmt.Errorf("smtp: 550 no such mailbox (signature request %s)", e.SignatureRequestID))
	case '4':
		return worker.JobFail(errors.New("template contract_signed.html: missing value for \"project\""))
	}
	return nil
}

// demoLedger is an ordered job type: a failed run holds the later events of its
// signature request.
type demoLedger struct{ worker.Defaults }

// Kind implements worker.JobType.
func (demoLedger) Kind() string { return "demo_ledger" }

// Events implements worker.JobType.
func (demoLedger) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

// Sources implements worker.JobType.
func (demoLedger) Sources() []string { return []string{demoSource} }

// WorkTx implements worker.Transactional.
func (demoLedger) WorkTx(_ context.Context, _ pgx.Tx, e *worker.Event) error {
	if demoTrouble(e) == '5' && e.Type == lumin.SignatureRequestSigned {
		return worker.JobFail(errors.New("account 8400 is closed"))
	}
	return nil
}
