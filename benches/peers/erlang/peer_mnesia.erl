%% The transaction workloads of `hmn bench`, on Mnesia: closed-loop clients, one JSON line per figure.
%% Shapes, field names and record layout are described in ../README.md; started by ../mnesia.sh.
-module(peer_mnesia).
-export([main/0, clients/1, become/2]).

-record(rec, {key, value, small}).
-record(indexed, {key, value, small}).
-record(branch, {id, balance, filler}).
-record(teller, {id, branch, balance, filler}).
-record(account, {id, branch, balance, filler}).
-record(history, {id, account, teller, branch, delta, at, filler}).

-define(ACCOUNTS_PER_BRANCH, 100000).
-define(TELLERS_PER_BRANCH, 10).
-define(WARM_MS, 200).
-define(BUCKETS, 2560).

main() ->
    Nodes = [list_to_atom(N) || N <- words("PEER_NODES")],
    ok = joined(Nodes, 200),
    Set = #{nodes => Nodes, records => number("PEER_RECORDS", "100000"),
            window_ms => round(seconds() * 1000), reps => number("PEER_REPS", "3")},
    [storage(Set#{storage => list_to_atom(S)}) || S <- words("PEER_STORAGE")],
    [erpc:cast(N, erlang, halt, [0]) || N <- Nodes, N =/= node()],
    halt(0).

words(Name) -> [W || W <- string:lexemes(os:getenv(Name, ""), ", ")].
number(Name, Default) -> list_to_integer(os:getenv(Name, Default)).

%% "1" or "0.05"
seconds() ->
    Text = os:getenv("PEER_SECONDS", "1"),
    case string:to_float(Text) of {error, no_float} -> list_to_integer(Text); {Seconds, []} -> Seconds end.

joined(Nodes, Tries) ->
    case [N || N <- Nodes, N =/= node(), net_adm:ping(N) =:= pang] of
        [] -> ok;
        Missing when Tries =:= 0 -> {missing, Missing};
        _ -> timer:sleep(50), joined(Nodes, Tries - 1)
    end.

%% ---- a cluster with empty tables ----

storage(Set) ->
    {Tpcb, Plain} = lists:partition(fun(W) -> W =:= tpcb end, [list_to_atom(W) || W <- words("PEER_WORKLOADS")]),
    Plain =:= [] orelse begin
        cluster(Set),
        N = maps:get(records, Set),
        fill(Set, rec, record_info(fields, rec), fun() -> [mnesia:write(record(K)) || K <- lists:seq(0, N - 1)] end),
        lists:member(index_read10_txn, Plain) andalso
            fill(Set, indexed, record_info(fields, indexed), [{index, [small]}], fun() ->
                [mnesia:write((setelement(1, record(K), indexed))#indexed{small = K rem values(N)}) || K <- lists:seq(0, N - 1)] end),
        [figures(W, Set) || W <- Plain]
    end,
    Tpcb =:= [] orelse begin cluster(Set), bank(Set), figures(tpcb, Set), balanced() end,
    ok.

cluster(#{nodes := Nodes, storage := Storage}) ->
    [ok = erpc:call(N, ?MODULE, become, [fresh, Storage]) || N <- Nodes],
    Storage =:= disc andalso (ok = mnesia:create_schema(Nodes)),
    [ok = erpc:call(N, ?MODULE, become, [started, Storage]) || N <- Nodes],
    {ok, _} = mnesia:change_config(extra_db_nodes, Nodes),
    ok.

become(fresh, Storage) ->
    application:stop(mnesia),
    application:load(mnesia),
    Dir = filename:join(os:getenv("PEER_TMP"), atom_to_list(node()) ++ "." ++ atom_to_list(Storage)),
    _ = file:del_dir_r(Dir),
    application:set_env(mnesia, dir, Dir);
become(started, _) -> mnesia:start().

%% filled on one node first, copied after: the quickest way Mnesia has
fill(Set, Table, Fields, Rows) -> fill(Set, Table, Fields, [], Rows).
fill(#{nodes := Nodes, storage := Storage}, Table, Fields, Options, Rows) ->
    Type = case Storage of ram -> ram_copies; disc -> disc_copies end,
    {atomic, ok} = mnesia:create_table(Table, [{Type, [node()]}, {attributes, Fields} | Options]),
    mnesia:activity(async_dirty, Rows),
    [{atomic, ok} = mnesia:add_table_copy(Table, N, Type) || N <- Nodes, N =/= node()],
    ok.

%% values of the index: ten records each
values(N) -> max(1, N div 10).

record(K) -> #rec{key = K, value = <<K:64, 0:(92 * 8)>>, small = 0}.

bank(Set) ->
    Scale = number("PEER_SCALE", "1"),
    Wide = <<0:(84 * 8)>>,
    fill(Set, branch, record_info(fields, branch), fun() ->
        [mnesia:write(#branch{id = I, balance = 0, filler = Wide}) || I <- lists:seq(0, Scale - 1)] end),
    fill(Set, teller, record_info(fields, teller), fun() ->
        [mnesia:write(#teller{id = I, branch = I div ?TELLERS_PER_BRANCH, balance = 0, filler = Wide})
         || I <- lists:seq(0, Scale * ?TELLERS_PER_BRANCH - 1)] end),
    fill(Set, account, record_info(fields, account), fun() ->
        [mnesia:write(#account{id = I, branch = I div ?ACCOUNTS_PER_BRANCH, balance = 0, filler = Wide})
         || I <- lists:seq(0, Scale * ?ACCOUNTS_PER_BRANCH - 1)] end),
    fill(Set, history, record_info(fields, history), fun() -> ok end).

balanced() ->
    Sum = fun(Table, Field) -> ets:foldl(fun(R, A) -> A + element(Field, R) end, 0, Table) end,
    Sums = [Sum(branch, #branch.balance), Sum(teller, #teller.balance), Sum(account, #account.balance), Sum(history, #history.delta)],
    io:format(standard_error, "tpcb sums ~p equal=~p~n", [Sums, length(lists:usort(Sums)) =:= 1]).

%% ---- workloads: a function of the random state ----

work(write_txn, N) -> fun(S0) -> {K, S} = below(S0, N), {atomic, ok} = mnesia:transaction(fun() -> mnesia:write(record(K)) end), S end;
work(read_txn, N) -> fun(S0) -> {K, S} = below(S0, N), {atomic, [_]} = mnesia:transaction(fun() -> mnesia:read(rec, K) end), S end;
work(rmw_txn_uniform, N) -> fun(S0) -> {K, S} = below(S0, N), add_one(K), S end;
work(rmw_txn_1key, _) -> fun(S) -> add_one(1), S end;
work(write10_txn, N) -> fun(S0) ->
    {Ks, S} = lists:mapfoldl(fun(_, A) -> below(A, N) end, S0, lists:seq(1, 10)),
    {atomic, ok} = mnesia:transaction(fun() -> [mnesia:write(record(K)) || K <- Ks], ok end), S end;
work(index_read10_txn, N) -> Least = min(N, 10), fun(S0) ->
    {V, S} = below(S0, values(N)),
    {atomic, Found} = mnesia:transaction(fun() -> mnesia:index_read(indexed, V, #indexed.small) end),
    true = length(Found) >= Least, S end;
work(dirty_read, N) -> fun(S0) -> {K, S} = below(S0, N), [_] = mnesia:dirty_read(rec, K), S end;
work(dirty_write, N) -> fun(S0) -> {K, S} = below(S0, N), ok = mnesia:dirty_write(record(K)), S end;
work(tpcb, _) -> Scale = number("PEER_SCALE", "1"), fun(S) -> tpcb(S, Scale) end.

add_one(K) ->
    {atomic, ok} = mnesia:transaction(fun() ->
        [R] = mnesia:read(rec, K, write),
        mnesia:write(R#rec{small = R#rec.small + 1}) end).

tpcb(S0, Scale) ->
    {Teller, S1} = below(S0, Scale * ?TELLERS_PER_BRANCH),
    {Home, S2} = below(S1, 100),
    {Shift, S3} = below(S2, max(1, Scale - 1)),
    {Nth, S4} = below(S3, ?ACCOUNTS_PER_BRANCH),
    {Amount, S5} = below(S4, 1999999),
    Branch = Teller div ?TELLERS_PER_BRANCH,
    From = if Home < 85; Scale =:= 1 -> Branch; true -> (Branch + 1 + Shift) rem Scale end,
    Account = From * ?ACCOUNTS_PER_BRANCH + Nth,
    Delta = Amount - 999999,
    {atomic, _} = mnesia:transaction(fun() ->
        [A] = mnesia:read(account, Account, write),
        Balance = A#account.balance + Delta,
        mnesia:write(A#account{balance = Balance}),
        [T] = mnesia:read(teller, Teller, write),
        mnesia:write(T#teller{balance = T#teller.balance + Delta}),
        [B] = mnesia:read(branch, Branch, write),
        mnesia:write(B#branch{balance = B#branch.balance + Delta}),
        mnesia:write(#history{id = {node(), erlang:unique_integer()}, account = Account, teller = Teller, branch = Branch,
                              delta = Delta, at = erlang:system_time(), filler = <<0:(22 * 8)>>}),
        Balance end),
    S5.

below(S0, N) -> S = rand:mwc59(S0), {(rand:mwc59_value32(S) * N) bsr 32, S}.

%% ---- measuring ----

figures(Workload, #{nodes := Nodes} = Set) ->
    [figure(Workload, Set#{clients => C, placement => P})
     || C <- [list_to_integer(X) || X <- words("PEER_CLIENTS")],
        P <- case length(Nodes) > 1 andalso C > 1 of true -> [one, spread]; false -> [one] end,
        lists:member(atom_to_list(P), words("PEER_PLACEMENT"))].

figure(Workload, #{nodes := Nodes, storage := Storage, clients := Clients, placement := Placement, records := Records, reps := Reps} = Set) ->
    Runs = lists:sort([begin R = run(Workload, Set), drained(Nodes, 400), R end || _ <- lists:seq(1, Reps)]),
    {Rate, P50, P99} = lists:nth((Reps + 1) div 2, Runs),
    Rates = [X || {X, _, _} <- Runs],
    io:format("{\"peer\":\"mnesia\",\"workload\":\"~s\",\"threads\":~b,\"nodes\":~b,\"ops_per_s\":~b,\"p50_us\":~.1f,\"p99_us\":~.1f,"
              "\"bytes_per_record\":null,\"ops_min\":~b,\"ops_max\":~b,\"reps\":~b,\"loadavg\":~s,\"storage\":\"~s\",\"placement\":\"~s\",\"records\":~b}~n",
              [Workload, Clients, length(Nodes), round(Rate), P50, P99, round(hd(Rates)), round(lists:last(Rates)), Reps, load(), Storage, Placement, Records]).

load() -> {ok, B} = file:read_file("/proc/loadavg"), hd(binary:split(B, <<" ">>)).

%% asynchronous replication must not lend its tail to the next figure
drained(_, 0) -> ok;
drained(Nodes, Tries) ->
    Queued = [Q || N <- Nodes, {message_queue_len, Q} <- [erpc:call(N, erlang, process_info, [erpc:call(N, erlang, whereis, [mnesia_tm]), message_queue_len])], Q > 1],
    Queued =:= [] orelse begin timer:sleep(25), drained(Nodes, Tries - 1) end.

run(Workload, #{nodes := Nodes, placement := Placement, clients := Clients} = Set) ->
    Spread = case Placement of
        one -> [{hd(Nodes), Clients}];
        spread -> [{N, (Clients + I) div length(Nodes)} || {I, N} <- lists:enumerate(0, Nodes)]
    end,
    Begin = erlang:system_time(millisecond) + 100,
    Asked = [erpc:send_request(N, ?MODULE, clients, [Set#{workload => Workload, here => C, begin_at => Begin, seed => I * 1000}])
             || {I, {N, C}} <- lists:enumerate(Spread), C > 0],
    {Rates, Histograms} = lists:unzip([erpc:receive_response(A, 300000) || A <- Asked]),
    Merged = lists:foldl(fun(H, Acc) -> maps:merge_with(fun(_, A, B) -> A + B end, H, Acc) end, #{}, Histograms),
    {lists:sum(Rates), quantile(Merged, 0.5), quantile(Merged, 0.99)}.

clients(#{here := Here, begin_at := Begin, seed := Seed, workload := Workload, records := Records, window_ms := Window}) ->
    Histogram = counters:new(?BUCKETS, [write_concurrency]),
    Work = work(Workload, Records),
    Loop = fun(I) ->
        timer:sleep(max(0, Begin - erlang:system_time(millisecond))),
        From = erlang:monotonic_time() + ?WARM_MS * 1000000,
        loop(Work, rand:mwc59_seed(Seed + I), Histogram, From, From + Window * 1000000, 0)
    end,
    Started = [spawn_monitor(fun() -> exit({rate, Loop(I)}) end) || I <- lists:seq(1, Here)],
    Rates = [receive {'DOWN', Ref, process, Pid, {rate, R}} -> R end || {Pid, Ref} <- Started],
    {lists:sum(Rates), maps:from_list([{I, C} || I <- lists:seq(1, ?BUCKETS), C <- [counters:get(Histogram, I)], C > 0])}.

loop(Work, S0, Histogram, From, Until, Count) ->
    T0 = erlang:monotonic_time(),
    S = Work(S0),
    T1 = erlang:monotonic_time(),
    if T0 < From -> loop(Work, S, Histogram, From, Until, 0);
       T1 >= Until -> (Count + 1) * 1.0e9 / (T1 - From);
       true -> counters:add(Histogram, slot(T1 - T0), 1), loop(Work, S, Histogram, From, Until, Count + 1)
    end.

%% logarithmic slots, 40 to a doubling (1.7 % wide)
slot(Ns) -> min(?BUCKETS, 1 + trunc(math:log2(max(1, Ns)) * 40)).
quantile(H, Q) ->
    Sorted = lists:sort(maps:to_list(H)),
    upto(Sorted, Q * lists:sum([C || {_, C} <- Sorted])).
upto([], _) -> 0.0;
upto([{I, C} | Rest], Left) when C >= Left; Rest =:= [] -> math:pow(2, (I - 0.5) / 40) / 1000;
upto([{_, C} | Rest], Left) -> upto(Rest, Left - C).
