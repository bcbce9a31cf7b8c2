%% ETS on the record shape of the table benches: one JSON line per figure. Described in ../README.md; started by ../ets.sh.
-module(peer_ets).
-export([main/0]).
-define(BATCH, 32).
-define(BITS, 20).
-define(MASK, 16#FFFFF).

main() ->
    Records = list_to_integer(os:getenv("PEER_RECORDS", "1000000")),
    Millis = list_to_integer(os:getenv("PEER_MS", "400")),
    Reps = list_to_integer(os:getenv("PEER_REPS", "3")),
    Threads = erlang:system_info(schedulers),
    true = Records =< 1 bsl ?BITS,
    %% in a process of its own, whose heap goes with it: a collection of it would stand in the way of the clients
    parallel(1, fun(_) -> persistent_term:put(zipf, zipf(Records)) end),
    [table(Kind, Name, Options, Threads, Records, Millis, Reps)
     || Kind <- [list_to_atom(K) || K <- string:lexemes(os:getenv("PEER_KINDS", "set,ordered_set,bag"), ", ")],
        {Name, Options} <- [{plain, []}, {concurrent, [{read_concurrency, true}, {write_concurrency, true}]}]],
    halt(0).

object(K) -> {K, <<K:64, 0:736>>, K rem 1000}.

table(Kind, Name, Options, Threads, Records, Millis, Reps) ->
    Fills = [begin
                 erlang:garbage_collect(),
                 Before = erlang:memory(total),
                 Tab = ets:new(t, [Kind, public | Options]),
                 Took = parallel(Threads, fun(I) -> fill(Tab, I, Records, Threads) end),
                 {Records * 1.0e9 / Took, (erlang:memory(total) - Before) / Records, Tab}
             end || _ <- lists:seq(1, Reps)],
    [ets:delete(T) || {_, _, T} <- tl(Fills)],
    {_, Bytes, Tab} = hd(Fills),
    Say = fun(Workload, Rates, B) -> line(Workload, Kind, Name, Threads, Records, lists:sort(Rates), B) end,
    Say(insert, [R || {R, _, _} <- Fills], Bytes),
    Timed = fun(Workload, Batch, Work) ->
        Say(Workload, [sum(parallel_rates(Threads, Millis, Batch, Work)) || _ <- lists:seq(1, Reps)], null) end,
    Key = fun(S0) -> S = rand:mwc59(S0), {(rand:mwc59_value32(S) * Records) bsr 32, S} end,
    Put = case Kind of
        bag -> fun(K) -> ets:delete(Tab, K), ets:insert(Tab, object(K)) end;
        _ -> fun(K) -> ets:insert(Tab, object(K)) end
    end,
    Mixed = fun(Share) -> fun(S0) ->
        {K, S1} = Key(S0),
        S = rand:mwc59(S1),
        case (rand:mwc59_value32(S) * 100) bsr 32 < Share of true -> ets:lookup(Tab, K); false -> Put(K) end,
        S end end,
    Timed(lookup_uniform, ?BATCH, fun(S0) -> {K, S} = Key(S0), _ = ets:lookup(Tab, K), S end),
    Timed(lookup_zipf, ?BATCH, fun(S) -> _ = ets:lookup(Tab, element(1 + (S band ?MASK), persistent_term:get(zipf))), S + 1 end),
    Timed(mixed_95_5, ?BATCH, Mixed(95)),
    Timed(mixed_50_50, ?BATCH, Mixed(50)),
    Kind =:= bag orelse Timed(update_counter, ?BATCH, fun(S0) -> {K, S} = Key(S0), ets:update_counter(Tab, K, {3, 1}), S end),
    Kind =:= ordered_set andalso
        Timed(range100_next_lookup, 1, fun(S0) -> {K, S} = Key(S0), walk(Tab, min(K, Records - 101), 100), S end),
    Timed(select_guard_1pct_full, 1, fun(S) ->
        _ = ets:select(Tab, [{{'$1', '_', '_'}, [{'<', {'rem', '$1', 1000}, 10}], ['$_']}]), S end),
    Timed(select_count_full, 1, fun(S) ->
        _ = ets:select_count(Tab, [{{'$1', '_', '_'}, [{'<', {'rem', '$1', 1000}, 10}], [true]}]), S end),
    ets:delete(Tab).

fill(_, I, Records, _) when I >= Records -> ok;
fill(Tab, I, Records, Step) -> ets:insert(Tab, object(scattered(I, Records))), fill(Tab, I + Step, Records, Step).

%% the same order of 0..N-1 as in the other tables' benches (../README.md): a bijection of 20 bits, walked until it is below N
scattered(I, N) ->
    case mixed(I) of K when K < N -> K; K -> scattered(K, N) end.
mixed(I) ->
    A = I bxor 16#5A3C7,
    B = ((A bxor (A bsr 11)) * 16#B52A7) band ?MASK,
    C = ((B bxor (B bsr 9)) * 16#6C8E5) band ?MASK,
    D = ((C bxor (C bsr 10)) * 16#93D2B) band ?MASK,
    D bxor (D bsr 12).

%% 2^20 keys whose ranks follow Zipf's law with theta 0.99: the quantiles of the law, in scattered order
zipf(N) ->
    {Sums, Sum} = lists:mapfoldl(fun(Rank, S) -> T = S + math:pow(Rank, -0.99), {T, T} end, 0.0, lists:seq(1, N)),
    Upto = list_to_tuple(Sums),
    list_to_tuple([scattered(rank(Upto, (mixed(I) + 0.5) / (1 bsl ?BITS) * Sum, 1, N) - 1, N) || I <- lists:seq(0, ?MASK)]).
rank(_, _, Low, Low) -> Low;
rank(Upto, X, Low, High) ->
    Middle = (Low + High) div 2,
    case element(Middle, Upto) >= X of true -> rank(Upto, X, Low, Middle); false -> rank(Upto, X, Middle + 1, High) end.

walk(_, _, 0) -> ok;
walk(Tab, K, Left) -> [_] = ets:lookup(Tab, K), walk(Tab, ets:next(Tab, K), Left - 1).

parallel(Threads, Fun) ->
    T0 = erlang:monotonic_time(),
    Started = [spawn_monitor(fun() -> Fun(I) end) || I <- lists:seq(0, Threads - 1)],
    [receive {'DOWN', Ref, process, Pid, normal} -> ok end || {Pid, Ref} <- Started],
    erlang:monotonic_time() - T0.

parallel_rates(Threads, Millis, Batch, Work) ->
    Client = fun(I) ->
        From = erlang:monotonic_time(),
        exit({rate, rate(Work, rand:mwc59_seed(I * 7919), Batch, From, From + Millis * 1000000, 0)})
    end,
    Started = [spawn_monitor(fun() -> Client(I) end) || I <- lists:seq(1, Threads)],
    [receive {'DOWN', Ref, process, Pid, {rate, R}} -> R end || {Pid, Ref} <- Started].
rate(Work, S0, Batch, From, Until, Count) ->
    S = repeat(Work, S0, Batch),
    Now = erlang:monotonic_time(),
    if Now >= Until -> (Count + Batch) * 1.0e9 / (Now - From);
       true -> rate(Work, S, Batch, From, Until, Count + Batch)
    end.
repeat(_, S, 0) -> S;
repeat(Work, S, N) -> repeat(Work, Work(S), N - 1).
sum(L) -> lists:sum(L).

line(Workload, Kind, Name, Threads, Records, Rates, Bytes) ->
    B = case Bytes of null -> "null"; _ -> io_lib:format("~.1f", [Bytes]) end,
    io:format("{\"peer\":\"ets\",\"workload\":\"~s\",\"threads\":~b,\"nodes\":1,\"ops_per_s\":~b,\"p50_us\":null,\"p99_us\":null,\"bytes_per_record\":~s,"
              "\"ops_min\":~b,\"ops_max\":~b,\"reps\":~b,\"table\":\"~s\",\"opts\":\"~s\",\"records\":~b}~n",
              [Workload, Threads, round(lists:nth((length(Rates) + 1) div 2, Rates)), B, round(hd(Rates)), round(lists:last(Rates)), length(Rates), Kind, Name, Records]).
