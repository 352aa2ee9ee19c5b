package unit

import (
	"os"
	"time"
)

// section is where a row applies: the unit types, and the section of the file.
type section int

const (
	inUnit    section = 1 << iota // [Unit], every type
	inService                     // [Service]
	inSocket
	inScope
	inSlice

	inExec   = inService | inSocket
	inKill   = inService | inSocket | inScope
	inCgroup = inService | inSocket | inScope | inSlice
)

// A row is one setting: the field of Spec that holds it, what systemd calls it
// in a unit file and on the bus, where it applies and since which version.
type row struct {
	key   string // in a unit file; empty: has no text form
	prop  string // on the bus; empty: can be set in a unit file only
	in    section
	since int // first version that takes it; 0: no newer than 252
	kind  kind
}

// oldest is the oldest systemd that is supported; rows do not say since when
// before it.
const oldest = 252

// both is a row whose key and property have one name.
func both(name string, in section, since int, k kind) row { return row{name, name, in, since, k} }

// table is every setting this package knows. Sections, keys and versions as in
// systemd's man pages; properties and signatures as bus_*_set_transient_property
// of its core reads them.
var table = []row{
	both("Description", inUnit, 0, text(func(s *Spec) *string { return &s.Description })),
	both("Documentation", inUnit, 0, list(func(s *Spec) *[]string { return &s.Documentation })),
	both("CollectMode", inUnit, 0, text(func(s *Spec) *string { return &s.CollectMode })),
	both("DefaultDependencies", inUnit, 0, option(func(s *Spec) **bool { return &s.DefaultDependencies })),
	both("IgnoreOnIsolate", inUnit, 0, flag(func(s *Spec) *bool { return &s.IgnoreOnIsolate })),
	both("StopWhenUnneeded", inUnit, 0, flag(func(s *Spec) *bool { return &s.StopWhenUnneeded })),
	{"StartLimitIntervalSec", "StartLimitIntervalUSec", inUnit, 0, optTime(func(s *Spec) **time.Duration { return &s.StartLimitInterval })},
	both("StartLimitBurst", inUnit, 0, number(func(s *Spec) *uint32 { return &s.StartLimitBurst })),

	{"ConditionPathExists", "Conditions", inUnit, 0, conditions("ConditionPathExists", func(s *Spec) *[]string { return &s.ConditionPathExists })},

	both("Wants", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.Wants })),
	both("Requires", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.Requires })),
	both("Requisite", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.Requisite })),
	both("BindsTo", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.BindsTo })),
	both("PartOf", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.PartOf })),
	both("Upholds", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.Upholds })),
	both("Conflicts", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.Conflicts })),
	both("Before", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.Before })),
	both("After", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.After })),
	both("PropagatesStopTo", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.PropagatesStopTo })),
	both("OnFailure", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.OnFailure })),
	both("OnSuccess", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.OnSuccess })),
	both("JoinsNamespaceOf", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.JoinsNamespaceOf })),
	both("RequiresMountsFor", inUnit, 0, list(func(s *Spec) *[]string { return &s.Dependencies.RequiresMountsFor })),

	both("Type", inService, 0, text(func(s *Spec) *string { return &s.Service.Type })),
	both("ExitType", inService, 0, text(func(s *Spec) *string { return &s.Service.ExitType })),
	both("ExecCondition", inService, 0, commands(func(s *Spec) *[]Command { return &s.Service.ExecCondition })),
	both("ExecStartPre", inService, 0, commands(func(s *Spec) *[]Command { return &s.Service.ExecStartPre })),
	both("ExecStart", inService, 0, commands(func(s *Spec) *[]Command { return &s.Service.ExecStart })),
	both("ExecStartPost", inService, 0, commands(func(s *Spec) *[]Command { return &s.Service.ExecStartPost })),
	both("ExecReload", inService, 0, commands(func(s *Spec) *[]Command { return &s.Service.ExecReload })),
	both("ExecStop", inService, 0, commands(func(s *Spec) *[]Command { return &s.Service.ExecStop })),
	both("ExecStopPost", inService, 0, commands(func(s *Spec) *[]Command { return &s.Service.ExecStopPost })),
	both("RemainAfterExit", inService, 0, flag(func(s *Spec) *bool { return &s.Service.RemainAfterExit })),
	both("NotifyAccess", inService, 0, text(func(s *Spec) *string { return &s.Service.NotifyAccess })),
	both("Restart", inService, 0, text(func(s *Spec) *string { return &s.Service.Restart })),
	both("RestartMode", inService, 254, text(func(s *Spec) *string { return &s.Service.RestartMode })),
	{"RestartSec", "RestartUSec", inService, 0, optTime(func(s *Spec) **time.Duration { return &s.Service.RestartSec })},
	both("RestartForceExitStatus", inService, 0, exitStatus(func(s *Spec) **ExitStatus { return &s.Service.RestartForceExitStatus })),
	both("RestartPreventExitStatus", inService, 0, exitStatus(func(s *Spec) **ExitStatus { return &s.Service.RestartPreventExitStatus })),
	both("SuccessExitStatus", inService, 0, exitStatus(func(s *Spec) **ExitStatus { return &s.Service.SuccessExitStatus })),
	{"TimeoutStartSec", "TimeoutStartUSec", inService, 0, optTime(func(s *Spec) **time.Duration { return &s.Service.TimeoutStart })},
	{"TimeoutStopSec", "TimeoutStopUSec", inService, 0, optTime(func(s *Spec) **time.Duration { return &s.Service.TimeoutStop })},
	{"RuntimeMaxSec", "RuntimeMaxUSec", inService, 0, span(func(s *Spec) *time.Duration { return &s.Service.RuntimeMax })},
	{"WatchdogSec", "WatchdogUSec", inService, 0, span(func(s *Spec) *time.Duration { return &s.Service.Watchdog })},
	both("FileDescriptorStoreMax", inService, 0, number(func(s *Spec) *uint32 { return &s.Service.FileDescriptorStoreMax })),
	both("FileDescriptorStorePreserve", inService, 254, text(func(s *Spec) *string { return &s.Service.FileDescriptorStorePreserve })),
	both("OOMPolicy", inService, 0, text(func(s *Spec) *string { return &s.Service.OOMPolicy })),
	both("OpenFile", inService, 253, openFiles(func(s *Spec) *[]OpenFile { return &s.Service.OpenFile })),

	{"Listen*", "Listen", inSocket, 0, listens(func(s *Spec) *[]Listen { return &s.Socket.Listen })},
	both("FileDescriptorName", inSocket, 0, text(func(s *Spec) *string { return &s.Socket.FileDescriptorName })),
	both("Accept", inSocket, 0, option(func(s *Spec) **bool { return &s.Socket.Accept })),
	both("SocketMode", inSocket, 0, mode(func(s *Spec) *uint32 { return &s.Socket.SocketMode })),
	both("DirectoryMode", inSocket, 0, mode(func(s *Spec) *uint32 { return &s.Socket.DirectoryMode })),
	both("SocketUser", inSocket, 0, text(func(s *Spec) *string { return &s.Socket.SocketUser })),
	both("SocketGroup", inSocket, 0, text(func(s *Spec) *string { return &s.Socket.SocketGroup })),
	both("RemoveOnStop", inSocket, 0, flag(func(s *Spec) *bool { return &s.Socket.RemoveOnStop })),
	both("Symlinks", inSocket, 0, list(func(s *Spec) *[]string { return &s.Socket.Symlinks })),
	both("Backlog", inSocket, 0, number(func(s *Spec) *uint32 { return &s.Socket.Backlog })),
	both("MaxConnections", inSocket, 0, number(func(s *Spec) *uint32 { return &s.Socket.MaxConnections })),
	both("PassCredentials", inSocket, 0, flag(func(s *Spec) *bool { return &s.Socket.PassCredentials })),
	both("PassFileDescriptorsToExec", inSocket, 256, flag(func(s *Spec) *bool { return &s.Socket.PassFileDescriptorsToExec })),
	both("FlushPending", inSocket, 0, flag(func(s *Spec) *bool { return &s.Socket.FlushPending })),
	{"TriggerLimitIntervalSec", "TriggerLimitIntervalUSec", inSocket, 0, optTime(func(s *Spec) **time.Duration { return &s.Socket.TriggerLimitInterval })},
	both("TriggerLimitBurst", inSocket, 0, option(func(s *Spec) **uint32 { return &s.Socket.TriggerLimitBurst })),
	both("ReusePort", inSocket, 0, flag(func(s *Spec) *bool { return &s.Socket.ReusePort })),
	both("FreeBind", inSocket, 0, flag(func(s *Spec) *bool { return &s.Socket.FreeBind })),
	both("KeepAlive", inSocket, 0, flag(func(s *Spec) *bool { return &s.Socket.KeepAlive })),
	both("NoDelay", inSocket, 0, flag(func(s *Spec) *bool { return &s.Socket.NoDelay })),
	both("BindIPv6Only", inSocket, 0, text(func(s *Spec) *string { return &s.Socket.BindIPv6Only })),
	both("BindToDevice", inSocket, 0, text(func(s *Spec) *string { return &s.Socket.BindToDevice })),
	both("SocketProtocol", inSocket, 0, protocol(func(s *Spec) *string { return &s.Socket.SocketProtocol })),
	both("ExecStartPre", inSocket, 0, commands(func(s *Spec) *[]Command { return &s.Socket.ExecStartPre })),
	both("ExecStartPost", inSocket, 0, commands(func(s *Spec) *[]Command { return &s.Socket.ExecStartPost })),
	both("ExecStopPre", inSocket, 0, commands(func(s *Spec) *[]Command { return &s.Socket.ExecStopPre })),
	both("ExecStopPost", inSocket, 0, commands(func(s *Spec) *[]Command { return &s.Socket.ExecStopPost })),

	{"", "PIDs", inScope, 0, pids(func(s *Spec) *[]uint32 { return &s.Scope.PIDs })},
	{"RuntimeMaxSec", "RuntimeMaxUSec", inScope, 0, span(func(s *Spec) *time.Duration { return &s.Scope.RuntimeMax })},
	both("OOMPolicy", inScope, 253, text(func(s *Spec) *string { return &s.Scope.OOMPolicy })),
	{"TimeoutStopSec", "TimeoutStopUSec", inScope, 0, optTime(func(s *Spec) **time.Duration { return &s.Scope.TimeoutStop })},

	both("Environment", inExec, 0, quoted(func(s *Spec) *[]string { return &s.Exec.Environment })),
	both("PassEnvironment", inExec, 0, list(func(s *Spec) *[]string { return &s.Exec.PassEnvironment })),
	both("WorkingDirectory", inExec, 0, text(func(s *Spec) *string { return &s.Exec.WorkingDirectory })),
	both("User", inExec, 0, text(func(s *Spec) *string { return &s.Exec.User })),
	both("Group", inExec, 0, text(func(s *Spec) *string { return &s.Exec.Group })),
	both("UMask", inExec, 0, optMode(func(s *Spec) **uint32 { return &s.Exec.UMask })),
	both("NoNewPrivileges", inExec, 0, option(func(s *Spec) **bool { return &s.Exec.NoNewPrivileges })),
	both("OOMScoreAdjust", inExec, 0, option(func(s *Spec) **int32 { return &s.Exec.OOMScoreAdjust })),
	both("Nice", inExec, 0, option(func(s *Spec) **int32 { return &s.Exec.Nice })),
	both("StandardInput", inExec, 0, text(func(s *Spec) *string { return &s.Exec.StandardInput })),
	both("StandardOutput", inExec, 0, text(func(s *Spec) *string { return &s.Exec.StandardOutput })),
	both("StandardError", inExec, 0, text(func(s *Spec) *string { return &s.Exec.StandardError })),
	{"", "StandardInputFileDescriptor", inService, 0, file(func(s *Spec) **os.File { return &s.Exec.StandardInputFile })},
	{"", "StandardOutputFileDescriptor", inService, 0, file(func(s *Spec) **os.File { return &s.Exec.StandardOutputFile })},
	{"", "StandardErrorFileDescriptor", inService, 0, file(func(s *Spec) **os.File { return &s.Exec.StandardErrorFile })},
	both("SyslogIdentifier", inExec, 0, text(func(s *Spec) *string { return &s.Exec.SyslogIdentifier })),
	both("LogExtraFields", inExec, 0, byteStrings(func(s *Spec) *[]string { return &s.Exec.LogExtraFields })),
	both("LogNamespace", inExec, 0, text(func(s *Spec) *string { return &s.Exec.LogNamespace })),
	both("LogLevelMax", inExec, 0, level(func(s *Spec) *string { return &s.Exec.LogLevelMax })),
	{"LogRateLimitIntervalSec", "LogRateLimitIntervalUSec", inExec, 0, optTime(func(s *Spec) **time.Duration { return &s.Exec.LogRateLimitInterval })},
	both("LogRateLimitBurst", inExec, 0, option(func(s *Spec) **uint32 { return &s.Exec.LogRateLimitBurst })),
	both("LimitNOFILE", inExec, 0, optLimit(func(s *Spec) **uint64 { return &s.Exec.LimitNOFILE })),
	both("LimitCORE", inExec, 0, optLimit(func(s *Spec) **uint64 { return &s.Exec.LimitCORE })),
	both("LimitNPROC", inExec, 0, optLimit(func(s *Spec) **uint64 { return &s.Exec.LimitNPROC })),
	both("LimitMEMLOCK", inExec, 0, optLimit(func(s *Spec) **uint64 { return &s.Exec.LimitMEMLOCK })),
	both("LimitSTACK", inExec, 0, optLimit(func(s *Spec) **uint64 { return &s.Exec.LimitSTACK })),
	both("LimitSIGPENDING", inExec, 0, optLimit(func(s *Spec) **uint64 { return &s.Exec.LimitSIGPENDING })),

	both("KillMode", inKill, 0, text(func(s *Spec) *string { return &s.Kill.Mode })),
	both("KillSignal", inKill, 0, signal(func(s *Spec) *int { return &s.Kill.Signal })),
	both("SendSIGKILL", inKill, 0, option(func(s *Spec) **bool { return &s.Kill.SendSIGKILL })),
	both("SendSIGHUP", inKill, 0, option(func(s *Spec) **bool { return &s.Kill.SendSIGHUP })),
	both("FinalKillSignal", inKill, 0, signal(func(s *Spec) *int { return &s.Kill.FinalSignal })),

	both("Slice", inCgroup&^inSlice, 0, text(func(s *Spec) *string { return &s.Resources.Slice })),
	{"Delegate", "Delegate", inService | inScope, 0, option(func(s *Spec) **bool { return &s.Resources.Delegate })},
	{"Delegate", "DelegateControllers", inService | inScope, 0, list(func(s *Spec) *[]string { return &s.Resources.DelegateControllers })},
	both("DelegateSubgroup", inService|inScope, 254, text(func(s *Spec) *string { return &s.Resources.DelegateSubgroup })),
	both("TasksMax", inCgroup, 0, limit(func(s *Spec) *uint64 { return &s.Resources.TasksMax })),
	both("MemoryMin", inCgroup, 0, limit(func(s *Spec) *uint64 { return &s.Resources.MemoryMin })),
	both("MemoryLow", inCgroup, 0, limit(func(s *Spec) *uint64 { return &s.Resources.MemoryLow })),
	both("MemoryHigh", inCgroup, 0, limit(func(s *Spec) *uint64 { return &s.Resources.MemoryHigh })),
	both("MemoryMax", inCgroup, 0, limit(func(s *Spec) *uint64 { return &s.Resources.MemoryMax })),
	both("MemorySwapMax", inCgroup, 0, optLimit(func(s *Spec) **uint64 { return &s.Resources.MemorySwapMax })),
	both("MemoryZSwapMax", inCgroup, 253, optLimit(func(s *Spec) **uint64 { return &s.Resources.MemoryZSwapMax })),
	both("CPUWeight", inCgroup, 0, limit(func(s *Spec) *uint64 { return &s.Resources.CPUWeight })),
	{"CPUQuota", "CPUQuotaPerSecUSec", inCgroup, 0, quota(func(s *Spec) *float64 { return &s.Resources.CPUQuota })},
	{"CPUQuotaPeriodSec", "CPUQuotaPeriodUSec", inCgroup, 0, span(func(s *Spec) *time.Duration { return &s.Resources.CPUQuotaPeriod })},
	both("AllowedCPUs", inCgroup, 0, bitmap(func(s *Spec) *string { return &s.Resources.AllowedCPUs })),
	both("AllowedMemoryNodes", inCgroup, 0, bitmap(func(s *Spec) *string { return &s.Resources.AllowedMemoryNodes })),
	both("IOWeight", inCgroup, 0, limit(func(s *Spec) *uint64 { return &s.Resources.IOWeight })),
	both("IODeviceWeight", inCgroup, 0, deviceLimits(func(s *Spec) *[]DeviceLimit { return &s.Resources.IODeviceWeight })),
	both("IOReadBandwidthMax", inCgroup, 0, deviceLimits(func(s *Spec) *[]DeviceLimit { return &s.Resources.IOReadBandwidthMax })),
	both("IOWriteBandwidthMax", inCgroup, 0, deviceLimits(func(s *Spec) *[]DeviceLimit { return &s.Resources.IOWriteBandwidthMax })),
	both("IOReadIOPSMax", inCgroup, 0, deviceLimits(func(s *Spec) *[]DeviceLimit { return &s.Resources.IOReadIOPSMax })),
	both("IOWriteIOPSMax", inCgroup, 0, deviceLimits(func(s *Spec) *[]DeviceLimit { return &s.Resources.IOWriteIOPSMax })),
	both("DevicePolicy", inCgroup, 0, text(func(s *Spec) *string { return &s.Resources.DevicePolicy })),
	both("DeviceAllow", inCgroup, 0, devices(func(s *Spec) *[]Device { return &s.Resources.DeviceAllow })),
	both("ManagedOOMMemoryPressure", inCgroup&^inSocket, 0, text(func(s *Spec) *string { return &s.Resources.ManagedOOMMemory })),
	both("ManagedOOMSwap", inCgroup&^inSocket, 0, text(func(s *Spec) *string { return &s.Resources.ManagedOOMSwap })),
	both("CPUAccounting", inCgroup, 0, option(func(s *Spec) **bool { return &s.Resources.CPUAccounting })),
	both("MemoryAccounting", inCgroup, 0, option(func(s *Spec) **bool { return &s.Resources.MemoryAccounting })),
	both("IOAccounting", inCgroup, 0, option(func(s *Spec) **bool { return &s.Resources.IOAccounting })),
	both("TasksAccounting", inCgroup, 0, option(func(s *Spec) **bool { return &s.Resources.TasksAccounting })),
	both("SurviveFinalKillSignal", inUnit, 255, flag(func(s *Spec) *bool { return &s.SurviveFinalKillSignal })),
}
