%% A Mnesia node with one table on disc: restart, backup and restore. One JSON line per figure. Described in ../README.md;
%% started twice by ../bulk.sh, to fill the table and to be measured.
-module(peer_bulk).
-export([main/0]).

-record(rec, {key, value, small}).

main() ->
    Dir = os:getenv("PEER_HOME"),
    Records = list_to_integer(os:getenv("PEER_RECORDS", "1000000")),
    ok = application:load(mnesia),
    ok = application:set_env(mnesia, dir, Dir),
    try
        case os:getenv("PEER_PART") of
            "fill" -> fill(Records);
            "measure" -> measure(Dir, Records)
        end,
        halt(0)
    catch Class:Reason:Stack ->
        io:format(standard_error, "peer_bulk: ~p ~p ~p~n", [Class, Reason, Stack]),
        halt(1)
    end.

%% into memory first, to disc as a whole after: the quickest way Mnesia has, and the one that leaves no log to be read again
fill(Records) ->
    ok = mnesia:create_schema([node()]),
    ok = mnesia:start(),
    {atomic, ok} = mnesia:create_table(rec, [{ram_copies, [node()]}, {attributes, record_info(fields, rec)}]),
    mnesia:activity(ets, fun() -> [mnesia:write(record(K)) || K <- lists:seq(0, Records - 1)] end),
    {atomic, ok} = mnesia:change_table_copy_type(rec, node(), disc_copies),
    stopped = mnesia:stop().

measure(Dir, Records) ->
    Size = fun() -> Records = mnesia:table_info(rec, size) end,
    Bytes = lists:sum([filelib:file_size(F) || F <- filelib:wildcard(filename:join(Dir, "*"))]),
    timed(restart, Records, Bytes, fun() ->
        ok = mnesia:start(),
        ok = mnesia:wait_for_tables([rec], 600000),
        Size() end),
    File = Dir ++ ".backup",
    timed(backup, Records, fun() -> filelib:file_size(File) end, fun() -> ok = mnesia:backup(File) end),
    {atomic, ok} = mnesia:transaction(fun() -> mnesia:delete({rec, 1}), mnesia:write(record(Records)) end),
    timed(restore, Records, filelib:file_size(File), fun() ->
        {atomic, [rec]} = mnesia:restore(File, [{clear_tables, [rec]}, {default_op, skip_tables}]) end),
    Size(),
    {[_], []} = {mnesia:dirty_read(rec, 1), mnesia:dirty_read(rec, Records)},
    stopped = mnesia:stop().

record(K) -> #rec{key = K, value = <<K:64, 0:(92 * 8)>>, small = K rem 1000}.

timed(Workload, Records, Bytes, Work) ->
    os:cmd("sync"),
    erlang:garbage_collect(),
    Began = erlang:monotonic_time(),
    Work(),
    Ms = (erlang:monotonic_time() - Began) / 1.0e6,
    DiscBytes = if is_function(Bytes) -> Bytes(); true -> Bytes end,
    Rate = round(Records * 1000 / Ms),
    {ok, Load} = file:read_file("/proc/loadavg"),
    io:format("{\"peer\":\"mnesia\",\"workload\":\"~s\",\"threads\":1,\"nodes\":1,\"ops_per_s\":~b,\"p50_us\":null,\"p99_us\":null,"
              "\"bytes_per_record\":null,\"ops_min\":~b,\"ops_max\":~b,\"reps\":1,\"loadavg\":~s,\"storage\":\"disc\",\"records\":~b,"
              "\"ms\":~.1f,\"disc_bytes\":~b}~n",
              [Workload, Rate, Rate, Rate, hd(binary:split(Load, <<" ">>)), Records, Ms, DiscBytes]).
