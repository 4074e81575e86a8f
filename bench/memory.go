package main

import (
	"errors"
	"math/rand/v2"
	"unsafe"

	"cohort/bench/traffic"
	"cohort/flowtable"
	"cohort/packet"
)

// EntryResult is the memory of one entry of a role, in bytes, at a table size.
type EntryResult struct {
	Role    string  `json:"role"`
	Entries int     `json:"entries"`
	Slot    int     `json:"slot"`  // the entry itself
	Total   float64 `json:"total"` // with its share of index and free places
}

// entryBytes computes what tables for so many entries take when full. The
// backup store grows as it is filled, so it is filled.
func entryBytes(entries int) ([]EntryResult, error) {
	const bucket, slot, forward = unsafe.Sizeof(flowtable.Bucket{}), unsafe.Sizeof(flowtable.FlowSlot{}), unsafe.Sizeof(flowtable.ForwardSlot{})
	indexed := func(role string, each uintptr, buckets int) EntryResult {
		total := uintptr(entries+1)*each + uintptr(buckets)*bucket
		return EntryResult{Role: role, Entries: entries, Slot: int(each), Total: float64(total) / float64(entries)}
	}
	backup, err := backupBytes("backup", entries, false)
	if err != nil {
		return nil, err
	}
	translated, err := backupBytes(translatedBackup, entries, true)
	if err != nil {
		return nil, err
	}
	joined, err := backupBytes(joinedBackup, entries, true)
	return []EntryResult{
		indexed("owner", slot, flowtable.IndexBuckets(entries, 0)),
		indexed("forwarder", forward, flowtable.IndexBuckets(0, entries)),
		backup,
		translated,
		joined,
	}, err
}

// translatedBackup is the role of a copy, or a stub, of a connection whose source is
// translated: an entry that has a second key as well.
const translatedBackup = "backup, translated"

// joinedBackup is the role of a copy that is the stub as well: it is found by both keys.
const joinedBackup = "backup and stub in one"

func backupBytes(role string, entries int, translated bool) (EntryResult, error) {
	r := EntryResult{Role: role, Entries: entries, Slot: flowtable.BackupBytes}
	if role == joinedBackup {
		r.Slot += flowtable.PairBytes
	}
	seed, err := flowtable.NewSeed(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		return r, err
	}
	store := flowtable.NewBackupStore(seed, entries)
	var shape traffic.Shape
	for i := range entries {
		b, err := flowtable.Backup{Key: flowtable.Pack(shape.Key(i)), Owner: 1}, error(nil)
		if translated {
			second := shape.Key(i).Reverse()
			second.Dst = packet.Addr{203, 0, byte(i >> 22), byte(i >> 14)} // each port once
			err = store.PutPair(b, second)
			if role == joinedBackup && !store.Join(shape.Key(i)) {
				err = errNotJoined
			}
		} else {
			err = store.Put(b)
		}
		if err != nil {
			return r, err
		}
	}
	r.Total = float64(store.Bytes()) / float64(entries)
	return r, nil
}

var errNotJoined = errors.New("two entries have one second key")
