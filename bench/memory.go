package main

import (
	"math/rand/v2"
	"unsafe"

	"cohort/bench/traffic"
	"cohort/flowtable"
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
	backup, err := backupBytes(entries)
	return []EntryResult{
		indexed("owner", slot, flowtable.IndexBuckets(entries, 0)),
		indexed("forwarder", forward, flowtable.IndexBuckets(0, entries)),
		backup,
	}, err
}

func backupBytes(entries int) (EntryResult, error) {
	r := EntryResult{Role: "backup", Entries: entries, Slot: int(unsafe.Sizeof(flowtable.Backup{}))}
	seed, err := flowtable.NewSeed(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		return r, err
	}
	store := flowtable.NewBackupStore(seed, entries)
	var shape traffic.Shape
	for i := range entries {
		if err := store.Put(flowtable.Backup{Key: flowtable.Pack(shape.Key(i)), Owner: 1}); err != nil {
			return r, err
		}
	}
	r.Total = float64(store.Bytes()) / float64(entries)
	return r, nil
}
